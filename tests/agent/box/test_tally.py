import json
from pathlib import Path

import pytest

from box_builders import HandClock
from veilleur_agent.control import Numbered, Tallied
from veilleur_agent.resolver import Resolver, addresses_of
from veilleur_agent.tally import STREAMS_KEPT, Tally
from veilleur_contracts.site import Camera, Line

CAMERA = Camera(
    id="gare", insee="30189", source="/x", labels=("person", "car"), line=(Line("kerb", (0.1, 0.5), (0.9, 0.5)),)
)


def counts_in(path: Path) -> dict[str, dict[str, int]]:
    kerb: dict[str, dict[str, int]] = json.loads(path.read_text())["cameras"]["gare"]["kerb"]
    return kerb


@pytest.fixture
def tally(tmp_path: Path) -> Tally:
    return Tally((CAMERA,), tmp_path / "tally.json")


def test_it_is_there_with_zeros_before_anything_was_counted(tally: Tally) -> None:
    tally.write()
    assert counts_in(tally.path) == {
        "person": {"left_to_right": 0, "right_to_left": 0},
        "car": {"left_to_right": 0, "right_to_left": 0},
    }


def test_what_an_eye_that_is_gone_has_made_is_kept(tally: Tally) -> None:
    tally.add(Tallied("gare", 100, 50, ((1, 2, 3, 4),)))
    tally.add(Tallied("gare", 200, 50, ((2, 2, 3, 4),)))
    tally.eye_ended()
    tally.add(Tallied("gare", 10, 49, ((0, 0, 0, 1),)))
    tally.write()
    assert counts_in(tally.path)["person"] == {"left_to_right": 2, "right_to_left": 2}
    assert counts_in(tally.path)["car"] == {"left_to_right": 3, "right_to_left": 5}
    document = json.loads(tally.path.read_text())
    assert (document["frames"], document["fps"]) == ({"gare": 210}, {"gare": 4.9})


@pytest.mark.parametrize(
    "tallied",
    [Tallied("other", 1, 1, ((1, 1, 1, 1),)), Tallied("gare", 1, 1, ((1, 1),)), Tallied("gare", 1, 1, ())],
)
def test_a_tally_of_something_else_is_left_aside(tally: Tally, tallied: Tallied) -> None:
    tally.add(tallied)
    assert tally.document()["frames"] == {"gare": 0}


def test_streams_a_mouth_has_forgotten_stay_known_and_are_bounded(tally: Tally) -> None:
    tally.add_numbers(Numbered({8: 5}, 2))
    tally.add_numbers(Numbered({16: 1}, 0))
    assert tally.document()["streams"] == {"8": 5, "16": 1}
    for start in range(1000):
        tally.add_numbers(Numbered({start * 8: 1}, 0))
    assert len(tally.document()["streams"]) == STREAMS_KEPT


def test_only_a_change_is_written(tally: Tally) -> None:
    tally.add(Tallied("gare", 1, 50, ((0, 0, 0, 0),)))
    tally.write()
    tally.add(Tallied("gare", 1, 50, ((0, 0, 0, 0),)))
    assert not tally.is_changed
    tally.add(Tallied("gare", 2, 50, ((0, 0, 0, 0),)))
    assert tally.is_changed


async def test_an_address_needs_no_looking_up_and_a_name_of_this_machine_is_found() -> None:
    assert await addresses_of("10.0.0.7", 554) == ("10.0.0.7",)
    assert await addresses_of("::1", 554) == ("::1",)
    assert set(await addresses_of("localhost", 554)) & {"127.0.0.1", "::1"}


async def test_a_name_is_not_asked_for_again_and_again() -> None:
    clock = HandClock()
    resolver = Resolver({"gare": ("127.0.0.1", 554)}, clock)
    assert await resolver.look_up("gare") == ("127.0.0.1",)
    assert await resolver.look_up("gare") is None
    assert await resolver.look_up("unknown") is None
    clock.advance(11)
    assert await resolver.look_up("gare") == ("127.0.0.1",)
