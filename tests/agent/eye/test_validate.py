"""What a camera counts is compared with what somebody tallied: found, missed and invented, by label."""

import hashlib
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from eye_builders import a_clip, a_walk, sprite_package
from model_builders import built_sprite
from veilleur_agent.cli import app
from veilleur_agent.eye.records import Crossing
from veilleur_agent.eye.validate import (
    Clip,
    Noted,
    Score,
    TalliedLine,
    Tally,
    TallyRejectedError,
    camera_of,
    check_clip,
    crossings_in,
    footage_of,
    interval_of,
    read_tally,
    scores_of,
)
from veilleur_contracts.messages import Direction, Label
from veilleur_contracts.site import Camera, Line, Validated

RIGHT, LEFT = Direction.LEFT_TO_RIGHT, Direction.RIGHT_TO_LEFT
KERB = TalliedLine("kerb", (0.5, 0.1), (0.5, 0.9))


def noted(*crossings: tuple[str, str, int]) -> Tally:
    """A tally of a clip of 10 frames a second; each crossing takes five frames from the one given."""
    rows = tuple(Noted(label, way, (frame, frame + 5)) for label, way, frame in crossings)
    return Tally((msgspec.structs.replace(KERB, crossing=rows),), Clip("street.mp4", None, 10.0))


def totals(**cells: dict[str, int]) -> Tally:
    return Tally((msgspec.structs.replace(KERB, totals=cells),))


def counted(*crossings: tuple[Label, Direction, int]) -> list[Crossing]:
    return [Crossing(0, label, way, at_ms) for label, way, at_ms in crossings]


@pytest.mark.parametrize(
    ("tally", "crossings", "expected"),
    [
        pytest.param(
            noted(("person", "left_to_right", 20)), counted((Label.PERSON, RIGHT, 2200)), Score(1, 1, 1), id="right"
        ),
        pytest.param(
            noted(("person", "left_to_right", 20)), counted((Label.PERSON, RIGHT, 3900)), Score(1, 1, 1), id="late"
        ),
        pytest.param(
            noted(("person", "left_to_right", 20)), counted((Label.PERSON, RIGHT, 4100)), Score(1, 1, 0), id="too-late"
        ),
        pytest.param(
            noted(("person", "left_to_right", 20)), counted((Label.PERSON, LEFT, 2200)), Score(1, 1, 0), id="other-way"
        ),
        pytest.param(noted(("person", "left_to_right", 20)), [], Score(1, 0, 0), id="missed"),
        pytest.param(
            noted(("person", "left_to_right", 20)),
            counted((Label.PERSON, RIGHT, 2200), (Label.PERSON, RIGHT, 2300)),
            Score(1, 2, 1),
            id="counted-twice",
        ),
        pytest.param(
            noted(("person", "left_to_right", 20), ("person", "left_to_right", 22)),
            counted((Label.PERSON, RIGHT, 2200), (Label.PERSON, RIGHT, 2300)),
            Score(2, 2, 2),
            id="two-together",
        ),
        pytest.param(
            totals(person={"left_to_right": 3, "right_to_left": 1}),
            counted(*[(Label.PERSON, RIGHT, 0)] * 2, *[(Label.PERSON, LEFT, 0)] * 4),
            Score(4, 6, 3),
            id="totals-cell-by-cell",
        ),
    ],
)
def test_tells_what_is_found_and_what_of_it_is_true(tally, crossings, expected) -> None:
    fps = tally.clip.fps if tally.clip else None
    assert scores_of(tally, crossings, fps) == {Label.PERSON: expected}


def test_a_wrong_label_is_missed_under_one_and_invented_under_the_other() -> None:
    scores = scores_of(noted(("bicycle", "left_to_right", 20)), counted((Label.MOTORCYCLE, RIGHT, 2200)), 10.0)
    assert scores == {Label.BICYCLE: Score(1, 0, 0), Label.MOTORCYCLE: Score(0, 1, 0)}


def test_lines_are_kept_apart() -> None:
    gate = msgspec.structs.replace(KERB, id="gate", totals={"person": {"left_to_right": 1}})
    tally = Tally((*totals(person={"left_to_right": 1}).line, gate))
    assert scores_of(tally, counted((Label.PERSON, RIGHT, 0), (Label.PERSON, RIGHT, 0)), None) == {
        Label.PERSON: Score(2, 2, 1)
    }


cells = st.tuples(
    st.sampled_from(["person", "car"]), st.sampled_from(["left_to_right", "right_to_left"]), st.integers(0, 99)
)


@given(st.lists(cells, max_size=12), st.lists(cells, max_size=12))
def test_no_more_is_right_than_is_in_either(truth, found) -> None:
    crossings = counted(*((Label[label.upper()], Direction[way.upper()], 100 * frame) for label, way, frame in found))
    for score in scores_of(noted(*truth), crossings, 10.0).values() if truth else ():
        assert 0 <= score.right <= min(score.true, score.counted)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        pytest.param(Score(20, 19, 18), Validated(0.9, 0.9474, 20), id="enough"),
        pytest.param(Score(9, 9, 9), None, id="too-few"),
        pytest.param(Score(20, 0, 0), None, id="blind"),
    ],
)
def test_a_site_is_told_only_what_was_measured_on_enough(score, expected) -> None:
    assert score.validated == expected


@pytest.mark.parametrize(
    ("right", "many", "expected"),
    [
        (10, 10, (0.787, 1.0)),
        (5, 10, (0.269, 0.731)),
        (0, 10, (0.0, 0.213)),
        (0, 0, (0.0, 1.0)),
        (950, 1000, (0.937, 0.960)),
    ],
)
def test_the_interval_of_a_share_is_wilsons(right, many, expected) -> None:
    assert interval_of(right, many) == pytest.approx(expected, abs=0.001)


GOOD = """
[clip]
name = "street.mp4"
fps = 10
origin = "for people"

[[line]]
id = "kerb"
from = [0.5, 0.1]
to = [0.5, 0.9]
note = "for people"
crossing = [{ label = "person", direction = "left_to_right", frames = [20, 25], sure = true }]
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param("[[line]]", "[[line", "not TOML", id="not-toml"),
        pytest.param('"person"', '"people"', "label", id="unknown-label"),
        pytest.param('"left_to_right"', '"up"', "direction", id="unknown-direction"),
        pytest.param("[20, 25]", "[20]", "frames", id="one-frame"),
        pytest.param("crossing = [", "others = [", "neither totals nor crossings", id="nothing-tallied"),
        pytest.param('"street.mp4"', '"../street.mp4"', "name", id="a-clip-elsewhere"),
        pytest.param("fps = 10", "fps = 0", "fps", id="no-rate"),
    ],
)
def test_refuses_a_tally_that_cannot_be_used(tmp_path, old, new, says) -> None:
    path = tmp_path / "tally.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(TallyRejectedError, match=says):
        read_tally(path)


def test_refuses_a_tally_that_is_not_there_or_huge(tmp_path) -> None:
    with pytest.raises(TallyRejectedError, match="No such file"):
        read_tally(tmp_path / "nowhere.toml")
    path = tmp_path / "tally.toml"
    path.write_bytes(b"#" * 1_100_000)
    with pytest.raises(TallyRejectedError, match="longer than"):
        read_tally(path)


def test_the_clip_is_the_one_that_was_tallied(tmp_path) -> None:
    clip = tmp_path / "street.mp4"
    clip.write_bytes(b"one")
    tally = Tally((KERB,), Clip("street.mp4", hashlib.sha256(b"one").hexdigest()))
    assert footage_of(tally, tmp_path) == clip
    clip.write_bytes(b"another")
    with pytest.raises(TallyRejectedError, match="SHA-256"):
        check_clip(tally, clip)
    clip.unlink()
    with pytest.raises(TallyRejectedError, match="beside the tally"):
        footage_of(tally, tmp_path)
    with pytest.raises(TallyRejectedError, match="--truth"):
        footage_of(Tally((KERB,)), tmp_path)


def test_lines_come_from_the_tally_or_from_the_camera_of_a_site() -> None:
    clip = Path("street.mp4")
    assert camera_of(Tally((KERB,)), clip, 5.0).line == (Line("kerb", (0.5, 0.1), (0.5, 0.9)),)
    gare = Camera("gare", "30189", "rtsp://10.0.0.7/main", fps=8.0, line=(Line("kerb", (0.2, 0.2), (0.3, 0.3)),))
    of_site = camera_of(Tally((TalliedLine("kerb"),)), clip, 5.0, gare)
    assert (of_site.line, of_site.fps, of_site.source) == (gare.line, 8.0, "street.mp4")
    with pytest.raises(TallyRejectedError, match="no ends"):
        camera_of(Tally((TalliedLine("kerb"),)), clip, 5.0)
    with pytest.raises(TallyRejectedError, match="no line gate"):
        camera_of(Tally((TalliedLine("gate"),)), clip, 5.0, gare)


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> Path:
    """Somebody goes through the middle between the 24th and the 25th of 50 frames."""
    return a_clip(tmp_path_factory.mktemp("walk") / "street.mp4", a_walk(50))


@pytest.fixture(scope="module")
def sprite_models(tmp_path_factory) -> Path:
    return built_sprite(tmp_path_factory.mktemp("models")).folder


def test_counts_a_clip_with_times_since_its_first_frame(walk) -> None:
    camera = camera_of(noted(), walk, 10.0)
    (crossing,) = crossings_in(walk, camera, sprite_package())
    assert crossing.label is Label.PERSON
    assert abs(crossing.at_ms - 2450) <= 250


def test_the_command_prints_what_goes_into_a_site(walk, sprite_models, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    tally = walk.parent / "tally.toml"
    for direction in ("left_to_right", "right_to_left"):
        tally.write_text(GOOD.replace('"left_to_right"', f'"{direction}"'), encoding="utf-8")
        arguments = ("--models", str(sprite_models), "--model", "sprite", "--fps", "10", "--json")
        outcome = CliRunner().invoke(app, ["validate", str(tally), *arguments])
        assert outcome.exit_code == 0, outcome.output
        found = json.loads(outcome.stdout)["labels"]["person"]
        assert (found["true"], found["counted"]) == (1, 1)
        assert found["validated"] is None
        if found["right"]:
            break
    else:
        pytest.fail("neither direction was right")
    shown = CliRunner().invoke(app, ["validate", str(walk), "--truth", str(tally), *arguments[:-1]])
    assert shown.exit_code == 0
    assert "100.0%" in shown.stdout
    assert "too few to say more" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["street.mp4"], "--truth", id="a-clip-without-a-tally"),
        pytest.param(["nowhere.toml"], "No such file", id="no-tally"),
    ],
)
def test_the_command_says_what_is_missing(arguments, says, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = CliRunner().invoke(app, ["validate", *arguments])
    assert outcome.exit_code != 0
    assert says in str(outcome.exception)
