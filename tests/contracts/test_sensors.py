"""Decoders are data with limits; what contradicts itself is refused with its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sensor_builders import DECODERS, LUXMETER, METER, PARK, PARK_SITE, RIVER, SENSORS, ULTRASONIC
from veilleur_contracts.sensors import WIRE_RANGE, DecoderRejectedError, Field, check_sensors
from veilleur_contracts.site import SiteRejectedError, parse_site


@pytest.mark.parametrize(
    ("field", "payload", "expected"),
    [
        pytest.param(Field("lux", 0, 2, 0, 9), "0102", 258, id="big-end-first"),
        pytest.param(Field("lux", 0, 2, 0, 9, order="little"), "0102", 513, id="little-end-first"),
        pytest.param(Field("lux", 1, 1, 0, 9), "01ff", 255, id="not-the-first-byte"),
        pytest.param(Field("level_mm", 0, 2, 0, 9, signed=True), "fffe", -2, id="twos-complement"),
        pytest.param(Field("lux", 0, 2, 0, 9, mask=0x3FFF), "ffff", 0x3FFF, id="masked"),
        pytest.param(Field("lux", 0, 1, 0, 9, times=10, over=4, plus=1), "03", 8, id="scaled-downwards"),
        pytest.param(Field("level_mm", 0, 1, 0, 9, times=-1, plus=200), "c8", 0, id="a-distance-turned-into-a-level"),
    ],
)
def test_a_field_is_a_whole_number_at_a_place(field, payload, expected) -> None:
    assert field.value_in(bytes.fromhex(payload)) == expected


@given(st.binary(min_size=4, max_size=4))
def test_any_payload_of_the_right_length_has_a_value(payload) -> None:
    for field in ULTRASONIC.field:
        assert isinstance(field.value_in(payload), int)


def test_sensors_that_agree_with_their_decoders_are_taken() -> None:
    check_sensors(SENSORS, DECODERS, "site")


@pytest.mark.parametrize(
    ("sensors", "decoders", "sentence"),
    [
        pytest.param((), (ULTRASONIC, ULTRASONIC), "there twice", id="decoder-twice"),
        pytest.param((RIVER, replace(RIVER, id="b")), DECODERS, "dev_eui", id="one-address-two-sensors"),
        pytest.param((RIVER, replace(PARK, id=RIVER.id)), DECODERS, "dev_eui", id="one-name-two-sensors"),
        pytest.param((replace(RIVER, decoder="gone"),), DECODERS, "no decoder gone", id="no-decoder"),
        pytest.param((), (replace(LUXMETER, field=LUXMETER.field * 2),), "read once", id="field-twice"),
        pytest.param((), (replace(LUXMETER, measures="noise"),), "needs the field", id="measure-without-its-field"),
        pytest.param((), (replace(METER, field=(*METER.field, LUXMETER.field[0])),), "no part", id="foreign-field"),
        pytest.param((), (replace(LUXMETER, length=1),), "ends after", id="beyond-the-payload"),
        pytest.param(
            (),
            (replace(LUXMETER, field=(replace(LUXMETER.field[0], signed=True, mask=3),)),),
            "signed and masked",
            id="signed-and-masked",
        ),
        pytest.param((), (replace(LUXMETER, field=(Field("lux", 0, 2, 5, 4),)),), "in order", id="limits-crossed"),
        pytest.param(
            (),
            (replace(LUXMETER, field=(Field("lux", 0, 2, 0, WIRE_RANGE["lux"][1] + 1),)),),
            "within",
            id="beyond-the-wire",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(sensors, decoders, sentence) -> None:
    with pytest.raises(DecoderRejectedError, match=sentence):
        check_sensors(sensors, decoders, "site")


def test_a_site_names_sensors_and_their_decoders() -> None:
    site = parse_site(PARK_SITE.encode(), "site.toml")
    assert site.sensor == (PARK,)
    assert site.decoder == (LUXMETER,)


def test_a_site_whose_sensors_cannot_be_read_is_refused() -> None:
    with pytest.raises(SiteRejectedError, match="no decoder gone"):
        parse_site(PARK_SITE.replace('decoder = "luxmeter"', 'decoder = "gone"').encode(), "site.toml")
