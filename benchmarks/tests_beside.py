"""Put the folder of the tests on the path: imported first by a benchmark whose worlds their builders build."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
