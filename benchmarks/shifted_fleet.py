"""Run ``veilleur-fleet`` with its clock set wrongly: ``python benchmarks/shifted_fleet.py SHIFT_MS run --data ...``."""

import sys

from veilleur_contracts.clock import SystemClock
from veilleur_fleet.cli import main

_now_ms = SystemClock.now_ms
_shift_ms = int(sys.argv.pop(1))
SystemClock.now_ms = lambda self: _now_ms(self) + _shift_ms  # the fault itself

if __name__ == "__main__":
    sys.exit(main())
