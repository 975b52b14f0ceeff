"""The short version of ``benchmarks/chaos.py``: its own ledger says whether anything was lost or told twice."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from veilleur_simulator.broker import mosquitto_path

BENCH = Path(__file__).parents[2] / "benchmarks" / "chaos.py"

pytestmark = pytest.mark.journey


@pytest.mark.timeout(400)
def test_a_minute_of_kills_cuts_full_disks_and_wrong_clocks_loses_and_doubles_nothing() -> None:
    if mosquitto_path() is None:
        pytest.skip("Mosquitto is not installed; the embedded broker is too slow for this")
    done = subprocess.run(
        [sys.executable, str(BENCH), "--seconds", "60"], capture_output=True, text=True, timeout=380, check=False
    )
    told = f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert done.returncode == 0, told
    last = done.stdout.splitlines()[-1]
    assert " 0 lost, 0 duplicated: ok" in last, told
    assert int(re.search(r"(\d+) kills", last)[1]) >= 10, told
