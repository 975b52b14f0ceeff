"""How thoroughly things are tried: quickly at every commit, wholly in ``make test``."""

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
    "agent/mouth",
    "fleet/test_ingest.py",
    "fleet/test_program.py",
    "fleet/test_records.py",
    "fleet/test_records_quickstart.py",
    "models/test_build.py",
    "models/test_evaluate.py",
    "redaction",
    "simulator/test_broker.py",
    "simulator/test_processes.py",
    "simulator/test_rtsp.py",
)
"""Tests that start real processes or run real networks over pictures: they take seconds, so not at every commit."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        place = item.path.relative_to(TESTS).as_posix()
        if any(place == slow or place.startswith(f"{slow}/") for slow in WITH_PROCESSES):
            item.add_marker("processes")
