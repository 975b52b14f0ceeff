"""Sensors, decoders and what a network server says of them, for tests."""

import base64
import json

from veilleur_contracts.sensors import Decoder, Field, Sensor

EUI = "a84041ffff123456"
ULTRASONIC = Decoder(
    "ultrasonic",
    "water_level",
    2,
    4,
    (
        Field("level_mm", 2, 2, least=0, most=4_500, times=-1, plus=4_500),
        Field("battery_mv", 0, 2, least=2_000, most=4_000, mask=0x3FFF),
    ),
)
METER = Decoder(
    "meter",
    "noise",
    1,
    3,
    (
        Field("laeq_db_x10", 0, 2, least=200, most=1_400, order="little"),
        Field("lamax_db_x10", 2, 1, least=200, most=1_400, times=10),
    ),
    window_s=900,
)
LUXMETER = Decoder("luxmeter", "light", 1, 2, (Field("lux", 0, 2, least=0, most=65_535),))
RIVER = Sensor("vistre-amont", EUI, "30189", "ultrasonic")
SQUARE = Sensor("arenes", "a84041ffff000001", "30189", "meter")
PARK = Sensor("jardins", "a84041ffff000002", "30189", "luxmeter")
PARK_SITE = """
[site]
box = "b"
controller = "ville"
[[camera]]
id = "gare"
insee = "30189"
source = "/dev/video0"
[[decoder]]
id = "luxmeter"
measures = "light"
f_port = 1
length = 2
field = [{ name = "lux", at = 0, length = 2, least = 0, most = 65535 }]
[[sensor]]
id = "jardins"
dev_eui = "a84041ffff000002"
insee = "30189"
decoder = "luxmeter"
"""
"""A site that hears PARK by LUXMETER."""
DECODERS, SENSORS = (ULTRASONIC, METER, LUXMETER), (RIVER, SQUARE, PARK)


def topic_of(sensor: Sensor = RIVER) -> str:
    return f"application/7/device/{sensor.dev_eui}/event/up"


def uplink(
    payload: bytes = bytes.fromhex("0d7a0bb8"),
    sensor: Sensor = RIVER,
    *,
    counter: int = 1,
    port: int = 2,
    **more: object,
) -> bytes:
    """An uplink event as ChirpStack v4 publishes it, with the parts nobody reads."""
    event = {
        "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
        "time": "2026-07-18T09:34:15.775023242+00:00",
        "deviceInfo": {
            "tenantName": "Nîmes",
            "applicationName": "eau",
            "deviceName": sensor.id,
            "devEui": sensor.dev_eui,
            "tags": {"rue": "quai"},
        },
        "devAddr": "00189440",
        "adr": True,
        "dr": 1,
        "fCnt": counter,
        "fPort": port,
        "confirmed": False,
        "data": base64.b64encode(payload).decode(),
        "object": {"anything": [1, {"deep": None}]},
        "rxInfo": [{"gatewayId": "0016c001f153a14c", "rssi": -97, "snr": 7.2}, {"gatewayId": "x", "rssi": -61}],
        "txInfo": {"frequency": 868_100_000},
    }
    return json.dumps({**event, **more}).encode()
