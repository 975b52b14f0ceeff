"""What was looked at by eye is enough, is written so that the benchmark can use it, and found nobody."""

import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
CLIPS = {path.name: tomllib.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.toml")}


@pytest.mark.parametrize("name", CLIPS)
def test_forty_frames_spread_over_the_clip_were_looked_at_and_nobody_was_left(name) -> None:
    rows = CLIPS[name]["frame"]
    numbers = [row["number"] for row in rows]
    assert len(numbers) >= 40
    assert numbers == sorted(set(numbers))
    gaps = [after - before for before, after in pairwise(numbers)]
    assert max(gaps) <= 2 * min(gaps)
    assert [row["number"] for row in rows if row["exposed"] is not False] == []


@pytest.mark.parametrize("name", CLIPS)
def test_hardly_any_frame_that_was_looked_at_was_filled_whole(name) -> None:
    filled = [row["filled"] for row in CLIPS[name]["frame"]]
    assert all(0.0 <= share <= 1.0 for share in filled)
    assert sum(share == 1.0 for share in filled) <= 1


@pytest.mark.parametrize("name", CLIPS)
def test_things_lie_inside_the_picture_and_are_small(name) -> None:
    for thing in CLIPS[name]["thing"]:
        x1, y1, x2, y2 = thing["box"]
        assert 0.0 <= x1 < x2 <= 1.0
        assert 0.0 <= y1 < y2 <= 1.0
        assert (x2 - x1) * (y2 - y1) < 0.01
        assert thing["what"]


def test_a_clip_was_looked_at() -> None:
    assert CLIPS
