"""Eye and mouth, confined, try what is forbidden; unconfined, the same trials find the ways open."""

from pathlib import Path

import pytest

from confine_builders import needs_kernel, run_child
from proof.table import Proofs
from veilleur_agent.confine.report import ConfinementReport, decode_report
from veilleur_agent.confine.trials import TRIALS, Outcome

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180), needs_kernel]


def report_of(process: str, folder: Path, *, confined: bool) -> ConfinementReport:
    own, other = folder / "own", folder / "other"
    for place in (own, other):
        place.mkdir()
    (other / "private").write_bytes(b"x")
    answer = run_child(
        process, ["trials"], own=[own], others=[other, other / "private"], ports=[1883, 8554], confined=confined
    )
    return decode_report(bytes.fromhex(answer["trials"]))


@pytest.mark.parametrize("process", ["eye", "mouth"])
def test_what_is_forbidden_is_refused(process: str, tmp_path: Path, proofs: Proofs) -> None:
    report = report_of(process, tmp_path, confined=True)
    outcomes = {one.number: one.outcome for one in report.trials}
    for trial in TRIALS:
        outcome = outcomes.get(trial.number, Outcome.ABSENT)
        must = "be allowed" if trial.is_control else "be refused"
        holds = trial.number not in report.breaches
        proofs.check(process, trial.what, must=must, was=outcome.name.lower(), holds=holds, control=trial.is_control)


@pytest.mark.parametrize("process", ["eye", "mouth"])
def test_unconfined_the_same_trials_find_the_ways_open(process: str, tmp_path: Path, proofs: Proofs) -> None:
    report = report_of(process, tmp_path, confined=False)
    was_open = sum(one.outcome is Outcome.ALLOWED for one in report.trials)
    must, was = "mostly be allowed", f"{was_open} of {len(report.trials)} allowed"
    holds = was_open >= len(report.trials) // 2
    proofs.check(process, "the same, unconfined", must=must, was=was, holds=holds, control=True)
