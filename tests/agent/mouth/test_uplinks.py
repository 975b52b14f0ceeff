"""What a network server says of a sensor: read strictly, believed within limits, counted once."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensor_builders import DECODERS, METER, PARK, RIVER, SENSORS, SQUARE, topic_of, uplink
from veilleur_agent.mouth.uplinks import (
    UPLINK_BYTES_MAX,
    UplinkRejectedError,
    address_in,
    is_repeated,
    missed_between,
    read_uplink,
    sensors_by_address,
)
from veilleur_contracts.messages import LightLevel, NoiseLevel, WaterLevel

NOW = datetime(2026, 7, 18, 9, 34, 20, tzinfo=UTC)
AT_S = 1_784_367_256
KNOWN = sensors_by_address(SENSORS, DECODERS)


def read(payload: bytes, topic: str = topic_of(), now: datetime = NOW):
    return read_uplink(topic, payload, KNOWN, now)


def test_a_level_is_read_from_a_distance() -> None:
    heard = read(uplink())
    assert heard.measured == WaterLevel("vistre-amont", "30189", AT_S, 1_500)
    assert (heard.battery_mv, heard.faint_db) == (3_450, 61)


def test_noise_and_light_are_read() -> None:
    noise = read(uplink(bytes.fromhex("82024f"), SQUARE, port=1), topic_of(SQUARE)).measured
    assert noise == NoiseLevel("arenes", "30189", AT_S, METER.window_s, 642, 790)
    light = read(uplink(b"\x00\x12", PARK, port=1), topic_of(PARK)).measured
    assert light == LightLevel("jardins", "30189", AT_S, 18)


def test_a_message_on_another_port_is_heard_and_measures_nothing() -> None:
    heard = read(uplink(b"\x01", port=3))
    assert heard is not None
    assert heard.measured is None
    assert heard.battery_mv is None


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(None, id="none"),
        pytest.param("2026-07-18T09:34:15", id="no-zone"),
        pytest.param("2020-01-01T00:00:00Z", id="years-ago"),
        pytest.param("2100-01-01T00:00:00Z", id="years-ahead"),
    ],
)
def test_a_time_nobody_can_believe_is_replaced_by_our_own(said) -> None:
    assert read(uplink(time=said)).measured.at_s == round(NOW.timestamp())


def test_what_waited_at_the_gateway_keeps_its_time() -> None:
    assert read(uplink(), now=NOW + timedelta(days=3)).measured.at_s == AT_S


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut-off"),
        pytest.param(b"[" * 10_000, id="deep"),
        pytest.param(b"\xff\xfe", id="no-text"),
        pytest.param(b" " * UPLINK_BYTES_MAX + uplink(), id="too-long"),
        pytest.param(b"{}", id="nothing-in-it"),
        pytest.param(uplink(data="!!!!"), id="no-base64"),
        pytest.param(uplink(data="DXoLuA"), id="base64-without-its-end"),
        pytest.param(uplink(data="é" * 4), id="base64-of-another-alphabet"),
        pytest.param(uplink(data="A" * 400), id="longer-than-lorawan"),
        pytest.param(uplink(b"\x0d\x7a\x0b"), id="a-byte-short"),
        pytest.param(uplink(b"\x0d\x7a\x0b\xb8\x00"), id="a-byte-long"),
        pytest.param(uplink(b"\x0d\x7a\xff\xff"), id="a-level-under-the-ground"),
        pytest.param(uplink(b"\x00\x00\x0b\xb8"), id="a-flat-battery-that-still-speaks"),
        pytest.param(uplink(counter=-1), id="negative-counter"),
        pytest.param(uplink(counter=2**40), id="huge-counter"),
        pytest.param(uplink(fCnt=1.5), id="half-a-counter"),
        pytest.param(uplink(devAddr="xyz"), id="no-address"),
        pytest.param(uplink(port=256), id="no-port"),
        pytest.param(uplink(rxInfo=[{"rssi": -1e9}]), id="no-signal"),
        pytest.param(uplink(sensor=PARK), id="of-another-device"),
    ],
)
def test_what_cannot_be_believed_is_refused(payload) -> None:
    with pytest.raises(UplinkRejectedError) as refused:
        read(payload)
    assert "0bb8" not in str(refused.value)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(payload) -> None:
    try:
        read(payload)
    except UplinkRejectedError:
        return


@pytest.mark.parametrize(
    "topic",
    [
        "application/7/device/a84041ffff999999/event/up",
        "application/7/device/a84041ffff123456/event/join",
        "application/7/device/a84041ffff123456/event",
        "",
    ],
)
def test_what_is_of_no_sensor_of_ours_is_passed_over(topic) -> None:
    assert read(uplink(), topic) is None


def test_an_address_is_read_in_either_case() -> None:
    assert address_in(topic_of().upper().replace("APPLICATION", "application")) is None
    assert address_in(f"application/7/device/{RIVER.dev_eui.upper()}/event/up") == RIVER.dev_eui


def test_a_message_is_counted_once_and_a_new_session_begins_anew() -> None:
    numbers = [read(uplink(counter=counter)).number for counter in (5, 6, 9)]
    rejoined = read(uplink(counter=0, devAddr="00189441")).number
    assert [is_repeated(numbers[0], number) for number in (*numbers, rejoined)] == [True, False, False, False]
    assert is_repeated(None, numbers[0]) is False
    assert [missed_between(None, numbers[0]), missed_between(numbers[0], numbers[1])] == [0, 0]
    assert missed_between(numbers[1], numbers[2]) == 2
    assert missed_between(numbers[2], rejoined) == 0
    assert max(numbers) < 2**63
