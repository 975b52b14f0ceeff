"""What people read about the wire is what the code refuses by."""

from pathlib import Path

from veilleur_contracts.clock import SystemClock, datetime_of
from veilleur_contracts.describe import wire_document

WIRE_MD = Path(__file__).parents[2] / "docs" / "wire.md"


def test_the_committed_document_is_the_generated_one() -> None:
    assert WIRE_MD.read_text(encoding="utf-8") == wire_document(), "run: make docs"


def test_the_clock_is_utc_and_never_goes_back() -> None:
    clock = SystemClock()
    assert datetime_of(clock.now_ms()).tzname() == "UTC"
    assert clock.elapsed_s() <= clock.elapsed_s()
