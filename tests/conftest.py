"""How thoroughly things are tried: quickly at every commit, wholly in ``make test``."""

import signal
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("quick", max_examples=15, deadline=None)
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
        place = item.path.relative_to(TESTS).as_posix()
        is_slow = any(place == slow or place.startswith(f"{slow}/") for slow in WITH_PROCESSES)
        if is_slow or "postgresql" in item.nodeid:  # a server of its own
            item.add_marker("processes")
    items.sort(key=_turn_of)


def _turn_of(item: pytest.Item) -> int:
    place = item.path.relative_to(TESTS).as_posix()
    turns = [turn for turn, first in enumerate(LONGEST_FIRST) if place == first or place.startswith(f"{first}/")]
    return min(turns, default=len(LONGEST_FIRST))
