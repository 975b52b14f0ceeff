"""Real confined processes try what they must not be able to do; the same trials, unconfined, find the ways open."""

import os
from pathlib import Path

import pytest

from confine_builders import NOBODY, interpreter_for, needs_kernel, run_child
from veilleur_agent.confine.errors import ConfinementError
from veilleur_agent.confine.report import ConfinementReport, decode_report, demand
from veilleur_agent.confine.trials import TRIALS, Outcome

NEEDS_ROOT = {9: "raw", 10: "packet", 25: "capability", 33: "userfaultfd", 34: "bpf", 35: "perf", 37: "mount"}
MAY_BE_MISSING = {2, 8, 12, 16, 30, 31, 33, 34, 35, 41}
"""What a kernel may be built or set up without: MPTCP, VSOCK, AF_ALG, io_uring, message queues, keys and so on."""
TO_REFUSE = [pytest.param(trial, id=trial.what) for trial in TRIALS if not trial.is_control]
CONTROLS = [pytest.param(trial, id=trial.what) for trial in TRIALS if trial.is_control]


def stores(folder: Path) -> tuple[Path, Path]:
    """Return a folder of its own and one of another process with a file in it, both readable by any account."""
    own, other = folder / "own", folder / "other"
    for one in (own, other):
        one.mkdir()
        one.chmod(0o777)
    (other / "private").write_bytes(b"x")
    for parent in (folder, *folder.parents[:3]):
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o111)
    return own, other


def report_of_child(profile: str, folder: Path, **more: object) -> ConfinementReport:
    own, other = stores(folder)
    answer = run_child(profile, ["trials"], own=[own], others=[other, other / "private"], ports=[1883, 8554], **more)
    return decode_report(bytes.fromhex(answer["trials"]))


@pytest.fixture(scope="module", params=["eye", "mouth"])
def confined(request, tmp_path_factory) -> ConfinementReport:
    return report_of_child(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module", params=["eye", "mouth"])
def confined_as_nobody(request, tmp_path_factory) -> ConfinementReport:
    if os.getuid() != 0:
        pytest.skip("only root can start a process as another account")
    interpreter = interpreter_for(NOBODY)
    if interpreter is None:
        pytest.skip("no Python of this version that another account can run with these packages")
    return report_of_child(request.param, tmp_path_factory.mktemp("nobody"), uid=NOBODY, interpreter=interpreter)


@pytest.fixture(scope="module", params=["eye", "mouth"])
def unconfined(request, tmp_path_factory) -> ConfinementReport:
    return report_of_child(request.param, tmp_path_factory.mktemp("free"), confined=False)


def outcome_of(report: ConfinementReport, number: int) -> Outcome:
    return next(one.outcome for one in report.trials if one.number == number)


@needs_kernel
@pytest.mark.parametrize("trial", TO_REFUSE)
def test_a_confined_process_is_refused(confined, trial) -> None:
    assert outcome_of(confined, trial.number) is Outcome.REFUSED


@needs_kernel
@pytest.mark.parametrize("trial", CONTROLS)
def test_a_confined_process_can_still(confined, trial) -> None:
    assert outcome_of(confined, trial.number) is Outcome.ALLOWED


@needs_kernel
@pytest.mark.parametrize("trial", TO_REFUSE)
def test_a_confined_process_of_another_account_is_refused(confined_as_nobody, trial) -> None:
    assert outcome_of(confined_as_nobody, trial.number) is Outcome.REFUSED


@needs_kernel
@pytest.mark.parametrize("trial", CONTROLS)
def test_a_confined_process_of_another_account_can_still(confined_as_nobody, trial) -> None:
    assert outcome_of(confined_as_nobody, trial.number) is Outcome.ALLOWED


def is_confined_already() -> bool:
    """Whether something around the tests, a container say, refuses calls before we do."""
    return "Seccomp:\t0" not in Path("/proc/self/status").read_text(encoding="ascii")


@pytest.mark.parametrize("trial", TO_REFUSE)
def test_the_same_trial_finds_its_way_open_in_an_unconfined_process(unconfined, trial) -> None:
    """A trial that cannot fail proves nothing."""
    if is_confined_already():
        pytest.skip("the tests run behind a seccomp filter already: what is open without ours cannot be told")
    if trial.number in NEEDS_ROOT and os.getuid() != 0:
        pytest.skip("without root the system refuses this by itself")
    allowed = {Outcome.ALLOWED, Outcome.ABSENT} if trial.number in MAY_BE_MISSING else {Outcome.ALLOWED}
    assert outcome_of(unconfined, trial.number) in allowed


def test_an_unconfined_process_is_told_from_a_confined_one(unconfined) -> None:
    assert set(unconfined.breaches) >= {1, 5, 6, 13, 17, 18, 38, 39}
    with pytest.raises(ConfinementError, match="can: TCP connection to a port that is not allowed"):
        demand(unconfined, "eye", allow_unconfined=False)
    demand(unconfined, "eye", allow_unconfined=True)


@needs_kernel
def test_a_confined_process_satisfies_the_demand(confined) -> None:
    assert confined.breaches == ()
    assert confined.filter_instructions > 0
    demand(confined, "eye", allow_unconfined=False)


@needs_kernel
def test_the_kernel_itself_says_so(tmp_path) -> None:
    own, _ = stores(tmp_path)
    status = run_child("eye", ["asks"], own=[own])["asks"]
    assert status["NoNewPrivs"] == ["1"]
    assert status["Seccomp"] == ["2"]
    assert int(status["CapEff"][0], 16) == int(status["CapPrm"][0], 16) == 0


@needs_kernel
def test_what_is_tried_leaves_nothing_behind(tmp_path) -> None:
    own, other = stores(tmp_path)
    for confined in (True, False):
        run_child("eye", ["trials"], own=[own], others=[other], ports=[8554], confined=confined)
    assert list(own.iterdir()) == []
    assert [path.name for path in other.iterdir()] == ["private"]
