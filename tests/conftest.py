"""How thoroughly things are tried: quickly at every commit, wholly in ``make test``."""

import gc
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("quick", max_examples=15, deadline=None)  # which a test may multiply: ``settings.default``
settings.register_profile("thorough", max_examples=100, deadline=None)
settings.load_profile("thorough")

TESTS = Path(__file__).parent
WITH_PROCESSES = (
    "agent/box",
    "agent/confine",
    "agent/eye/test_stills.py",
    "agent/eye/test_upkeep.py",
    "agent/eye/test_preview.py",
    "agent/mouth",
    "contracts/test_fuzz_decoders.py",
    "fleet/test_backup.py",
    "fleet/test_database.py",
    "fleet/test_ingest.py",
    "fleet/test_program.py",
    "fleet/test_records.py",
    "fleet/test_records_quickstart.py",
    "fleet/test_rest_fuzzed.py",
    "models/test_build.py",
    "models/test_evaluate.py",
    "redaction",
    "simulator/test_broker.py",
    "simulator/test_processes.py",
    "simulator/test_rtsp.py",
)
"""Tests that start real processes or run real networks over pictures: they take seconds, so not at every commit."""


def pytest_configure(config: pytest.Config) -> None:
    """Let what a worker starts be interrupted: a worker itself ignores Ctrl-C, and its children would inherit that."""
    if hasattr(config, "workerinput"):
        signal.signal(signal.SIGINT, signal.default_int_handler)


MARKED_THROUGHOUT = {
    **dict.fromkeys(WITH_PROCESSES, frozenset({"processes"})),
    "agent/eye/test_attack.py": {"soak"},
    "agent/eye/test_bulky.py": {"soak"},
    "journeys": {"journey", "soak"},
    "proof": {"journey"},
}
"""Places of which every test carries one of these markers: where all of them are left out, nothing need be read."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Read no file of which nothing would run: reading one costs as much as many tests."""
    wanted = config.option.markexpr.split(" and ")
    if any(" or " in term or "(" in term for term in wanted):
        return None
    left_out = {term.removeprefix("not ") for term in wanted if term.startswith("not ")}
    return (
        any(collection_path == TESTS / place for place, marks in MARKED_THROUGHOUT.items() if marks <= left_out) or None
    )


def pytest_collection_finish() -> None:
    """Spare the garbage collector from walking over what was collected: it stays to the end."""
    gc.collect()
    gc.freeze()


LONGEST_FIRST = (
    "journeys/test_a_day_of_a_street.py",
    "journeys/test_watched_streets.py",
    "journeys/test_redacted_streets.py",
    "proof",
    "journeys",
    "redaction",
    "agent/box",
)
"""Of two workers neither is left with a long file when the other has nothing more to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _stands_in(item, WITH_PROCESSES) or "postgresql" in item.nodeid:  # a server of its own
            item.add_marker("processes")
        marks = set().union(*(marks for place, marks in MARKED_THROUGHOUT.items() if _stands_in(item, [place])))
        if marks and not any(item.get_closest_marker(mark) for mark in marks):
            message = f"{item.nodeid} carries none of {', '.join(sorted(marks))}, and would be passed over without them"
            raise pytest.UsageError(message)
    items.sort(key=_turn_of)


def _turn_of(item: pytest.Item) -> int:
    return min(
        (turn for turn, first in enumerate(LONGEST_FIRST) if _stands_in(item, [first])), default=len(LONGEST_FIRST)
    )


def _stands_in(item: pytest.Item, places: Iterable[str]) -> bool:
    at = item.path.relative_to(TESTS).as_posix()
    return any(at == place or at.startswith(f"{place}/") for place in places)
