"""Attackers trained on redacted pictures stay at chance for the fill that ships, and read through the controls."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from proof.table import Proofs

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

ATTACK = Path(__file__).parents[2] / "benchmarks" / "attack.py"


def test_nothing_is_read_through_the_fill(proofs: Proofs) -> None:
    done = subprocess.run(
        [sys.executable, str(ATTACK), "--json"], check=False, capture_output=True, text=True, timeout=290
    )
    for row in json.loads(done.stdout.splitlines()[0]):
        must = {"shipped": f"stay under {row['bound']:.3f}", "control": "be read", "told": ""}[row["role"]]
        was = f"{row['accuracy']:.3f} read ({row['attacker']})"
        if must:
            control = row["role"] == "control"
            proofs.check("fill", row["way"], must=must, was=was, holds=row["passed"], control=control)
    assert done.returncode == 0, done.stderr[-500:]
