"""A site that is good, for tests that spoil it."""

GOOD_SITE = """
[site]
box = "gare-01"
controller = "ville"

[[camera]]
id = "parvis"
insee = "30189"
source = "rtsp://10.0.0.7:554/main"
user = "veilleur"
secret = "parvis"
labels = ["car", "person"]

[[camera.line]]
id = "kerb"
from = [0.1, 0.6]
to = [0.9, 0.6]

[[camera.zone]]
id = "square"
polygon = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]
"""
