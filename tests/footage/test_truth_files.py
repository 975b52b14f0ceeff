"""The truth files agree with themselves, and with the clip they speak of where that clip is at hand."""

import hashlib
import math
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import av
import pytest

from veilleur_contracts.messages import Direction, Label

HERE = Path(__file__).parent
SHARED_FOOTAGE = HERE.parents[2] / "shared" / "footage"
TRUTHS = sorted(HERE.glob("*.toml"))
LABELS = {label.name.lower() for label in Label}
DIRECTIONS = {direction.name.lower() for direction in Direction}
SLANT_MIN = 0.05  # of the frame: less than this is drawn, and read, as vertical or horizontal


def truth_of(path: Path) -> dict[str, Any]:
    """Return one truth file, parsed."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


LINES = [
    pytest.param(truth["clip"], line, id=f"{path.stem}-{line['id']}")
    for path in TRUTHS
    for truth in [truth_of(path)]
    for line in truth["line"]
]


def shape_of(line: dict[str, Any]) -> str:
    """Return what the two ends of a line make it: vertical, horizontal or oblique."""
    dx, dy = (abs(b - a) for a, b in zip(line["from"], line["to"], strict=True))
    if dx < SLANT_MIN:
        return "vertical"
    return "horizontal" if dy < SLANT_MIN else "oblique"


def test_both_clips_have_a_truth() -> None:
    assert {path.stem for path in TRUTHS} >= {"vtest", "person-bicycle-car"}


def test_vtest_has_a_vertical_a_horizontal_and_an_oblique_line() -> None:
    assert {line["shape"] for line in truth_of(HERE / "vtest.toml")["line"]} == {"vertical", "horizontal", "oblique"}


@pytest.mark.parametrize("path", TRUTHS, ids=lambda path: path.stem)
def test_line_names_are_unique_and_the_demo_line_is_one_of_them(path: Path) -> None:
    truth = truth_of(path)
    names = [line["id"] for line in truth["line"]]
    assert len(set(names)) == len(names)
    assert truth["clip"]["demo_line"] in names


@pytest.mark.parametrize(("clip", "line"), LINES)
def test_totals_equal_the_rows(clip: dict[str, Any], line: dict[str, Any]) -> None:
    counted = Counter((row["label"], row["direction"]) for row in line["crossing"])
    stated = {(label, direction): n for label, both in line["totals"].items() for direction, n in both.items() if n}
    assert stated == dict(counted), clip["name"]
    assert all(set(both) == DIRECTIONS for both in line["totals"].values())


@pytest.mark.parametrize(("clip", "line"), LINES)
def test_every_row_speaks_of_frames_labels_and_directions_that_exist(
    clip: dict[str, Any], line: dict[str, Any]
) -> None:
    for row in line["crossing"]:
        first, last = row["frames"]
        assert 0 <= first <= last < clip["frames"], row
        assert last - first <= clip["fps"], row
        assert row["label"] in LABELS, row
        assert row["direction"] in DIRECTIONS, row
        assert row["sure"] or row["note"], "a doubt gives its reason"


@pytest.mark.parametrize(("clip", "line"), LINES)
def test_rows_are_in_order_of_time(clip: dict[str, Any], line: dict[str, Any]) -> None:
    firsts = [row["frames"][0] for row in line["crossing"]]
    assert firsts == sorted(firsts), clip["name"]


@pytest.mark.parametrize(("clip", "line"), LINES)
def test_lines_lie_in_the_picture_and_have_the_shape_they_say(clip: dict[str, Any], line: dict[str, Any]) -> None:
    assert all(0.0 <= value <= 1.0 for value in (*line["from"], *line["to"])), clip["name"]
    assert math.dist(line["from"], line["to"]) > SLANT_MIN
    assert line["shape"] == shape_of(line)


@pytest.mark.parametrize("path", TRUTHS, ids=lambda path: path.stem)
def test_the_clip_at_hand_is_the_one_that_was_counted(path: Path) -> None:
    clip = truth_of(path)["clip"]
    footage = SHARED_FOOTAGE / clip["name"]
    if not footage.exists():
        pytest.skip(f"{clip['name']} is not in ../shared/footage")
    assert hashlib.sha256(footage.read_bytes()).hexdigest() == clip["sha256"]
    with av.open(str(footage)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (clip["width"], clip["height"])
        assert stream.average_rate == clip["fps"]
        assert sum(1 for _ in container.decode(stream)) == clip["frames"]
