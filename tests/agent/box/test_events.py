import ast
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from box_builders import HandClock
from veilleur_agent.events import (
    EVENTS,
    LINE_BYTES_MAX,
    OUTPUT_BUDGET,
    EventUnknownError,
    OutputGate,
    Value,
    check_event,
    teller_to,
)

AGENT = Path(__file__).parents[3] / "agent" / "veilleur_agent"
GOOD = {"event": "camera.state_changed", "camera": "gare", "state": "live", "reconnects": 3}


class Reader:
    """A gate, and what got past it."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.passed: list[tuple[str, dict[str, Value]]] = []
        self.gate = OutputGate(self.clock, lambda event, values: self.passed.append((event, values)))

    def take(self, *lines: object) -> None:
        for line in lines:
            self.gate.take(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")


def test_a_registered_event_passes_with_its_values() -> None:
    reader = Reader()
    reader.take(GOOD)
    assert reader.passed == [("camera.state_changed", {"camera": "gare", "state": "live", "reconnects": 3})]
    assert reader.gate.dropped_bytes == 0


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"Traceback (most recent call last):\n", id="a-traceback"),
        pytest.param({**GOOD, "event": "camera.password_read"}, id="an-event-nobody-registered"),
        pytest.param({**GOOD, "camera": "rtsp://u:p@10.0.0.7"}, id="an-address-where-an-id-belongs"),
        pytest.param({**GOOD, "state": "a word that is not in the list"}, id="a-word-of-its-own"),
        pytest.param({**GOOD, "reconnects": 2**60}, id="a-number-that-could-hold-more"),
        pytest.param({**GOOD, "reconnects": True}, id="a-flag-for-a-number"),
        pytest.param({**GOOD, "reconnects": 1.5}, id="a-float"),
        pytest.param({**GOOD, "extra": 1}, id="one-value-more"),
        pytest.param({k: v for k, v in GOOD.items() if k != "camera"}, id="one-value-less"),
        pytest.param({**GOOD, "camera": ["gare"]}, id="a-list"),
        pytest.param(["event"], id="no-object"),
        pytest.param(b"\xff\xfe\xfd\n", id="no-text"),
        pytest.param(b"[" * 400 + b"\n", id="nested-deeply"),
        pytest.param(json.dumps(GOOD).encode() + b" " * LINE_BYTES_MAX + b"\n", id="a-line-too-long"),
    ],
)
def test_everything_else_is_counted_and_dropped(line: object) -> None:
    reader = Reader()
    reader.take(line, GOOD)
    assert len(reader.passed) == 1, "what is good still passes"
    assert reader.gate.dropped_bytes > 0


def test_a_picture_poured_out_is_never_kept_whole() -> None:
    reader = Reader()
    for _ in range(1000):
        reader.take(bytes(range(1, 10)) * 400)
    reader.take(b"\n", GOOD)
    assert len(reader.passed) == 1
    assert reader.gate.dropped_bytes == 1000 * 9 * 400 + 1
    assert len(reader.gate._rest) <= LINE_BYTES_MAX


def test_a_flood_of_good_events_stays_within_the_budget() -> None:
    reader = Reader()
    line = json.dumps(GOOD).encode()
    for _ in range(5000):
        reader.take(line + b"\n")
    assert len(reader.passed) * len(line) <= OUTPUT_BUDGET.burst_bytes
    reader.clock.advance(10)
    before = len(reader.passed)
    reader.take(line + b"\n")
    assert len(reader.passed) == before + 1


@given(st.lists(st.binary(max_size=600), max_size=20), st.integers(1, 50))
def test_whatever_comes_in_whatever_pieces_nothing_is_invented_and_nothing_crashes(
    parts: list[bytes], piece: int
) -> None:
    reader = Reader()
    whole = b"\n".join([*parts, json.dumps(GOOD).encode(), b""])
    for place in range(0, len(whole), piece):
        reader.gate.take(whole[place : place + piece])
    assert reader.passed[-1][0] == "camera.state_changed"
    assert all(check_event(event, values) == values for event, values in reader.passed)


def test_a_child_cannot_log_what_is_not_registered() -> None:
    sink = io.StringIO()
    tell = teller_to(sink)
    tell("link.reopened")
    assert json.loads(sink.getvalue()) == {"event": "link.reopened"}
    with pytest.raises(EventUnknownError):
        tell("link.reopened", sentence="anything")
    with pytest.raises(EventUnknownError):
        tell("camera.state_changed", camera="a b", state="live", reconnects=0)


def calls_to_tell(folder: str) -> list[tuple[str, str, set[str]]]:
    """Every literal event the code of a child logs: file, event, names of its values."""
    found = []
    for path in [*(AGENT / folder).rglob("*.py"), AGENT / "child.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"tell", "self._tell"}:
                assert isinstance(node.args[0], ast.Constant), f"{path.name}: an event is named where it is told"
                values = {keyword.arg or "**" for keyword in node.keywords}
                found.append((path.name, str(node.args[0].value), values))
    return found


@pytest.mark.parametrize("folder", ["eye", "mouth"])
def test_every_event_a_child_logs_is_registered_with_just_these_values(folder: str) -> None:
    calls = calls_to_tell(folder)
    assert len(calls) > 3
    assert [call for call in calls if EVENTS.get(call[1], {"?": int}).keys() != call[2]] == []


def test_every_registered_event_is_named_noun_dot_past_verb_and_is_used() -> None:
    told = {event for folder in ("eye", "mouth") for _, event, _ in calls_to_tell(folder)}
    assert set(EVENTS) == told
