"""What a report must hold to be believed, when it is enough, and what is said where the kernel lacks what it takes."""

import contextlib
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from confine_builders import needs_kernel, own_interpreter, run_child
from veilleur_agent.confine.errors import ConfinementError
from veilleur_agent.confine.process import Missing, missing_of
from veilleur_agent.confine.report import (
    REPORT_BYTES_MAX,
    ConfinementReport,
    TrialResult,
    decode_report,
    demand,
    encode_report,
    lines_of,
)
from veilleur_agent.confine.trials import LISTEN_UNBOUND, PASS_FILES, TRIALS, Outcome

HIDE = Path(__file__).parents[2] / "confine_hidden.py"
EPERM = 1


def a_report(changed: dict[int, Outcome] | None = None, missing: tuple[Missing, ...] = ()) -> ConfinementReport:
    """What a confined process reports, but for the outcomes in ``changed``."""
    outcomes = {one.number: Outcome.ALLOWED if one.is_control else Outcome.REFUSED for one in TRIALS}
    outcomes |= changed or {}
    results = tuple(TrialResult(number, outcome, EPERM) for number, outcome in outcomes.items())
    return ConfinementReport(7, 300, missing, results)


def without(report: ConfinementReport, *numbers: int) -> ConfinementReport:
    return msgspec.structs.replace(report, trials=tuple(one for one in report.trials if one.number not in numbers))


def test_a_report_goes_there_and_back_in_one_packet() -> None:
    report = a_report()
    assert decode_report(encode_report(report)) == report
    assert len(encode_report(a_report(missing=tuple(Missing)))) <= REPORT_BYTES_MAX


def test_a_report_may_leave_out_what_a_process_is_meant_to_do_and_nothing_else() -> None:
    report = without(a_report(), LISTEN_UNBOUND, PASS_FILES)
    assert decode_report(encode_report(report)) == report
    for trial in TRIALS:
        if trial.number not in {LISTEN_UNBOUND, PASS_FILES}:
            with pytest.raises(ConfinementError, match="does not hold every trial once"):
                decode_report(encode_report(without(a_report(), trial.number)))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00" * (REPORT_BYTES_MAX + 1), id="too-long"),
        pytest.param(encode_report(a_report())[:-1], id="cut"),
        pytest.param(encode_report(a_report()) + b"\x00", id="something-after-it"),
        pytest.param(msgspec.msgpack.encode([7, 300, [], [[1, 0, 1], [1, 0, 1]]]), id="a-trial-twice"),
        pytest.param(msgspec.msgpack.encode([7, 300, [], [[1, 3, 1]]]), id="an-outcome-that-is-none"),
        pytest.param(msgspec.msgpack.encode([7, 300, [], [["1", 0, 1]]]), id="a-text"),
        pytest.param(msgspec.msgpack.encode([7, 300, ["hope"], [[1, 0, 1]]]), id="missing-something-unknown"),
        pytest.param(msgspec.msgpack.encode([7, 300, [], [], 1]), id="a-field-too-many"),
    ],
)
def test_what_is_no_report_is_refused(data) -> None:
    with pytest.raises(ConfinementError, match="a confinement report"):
        decode_report(data)


@given(st.binary(max_size=REPORT_BYTES_MAX + 10))
def test_any_bytes_are_a_report_or_refused(data) -> None:
    with contextlib.suppress(ConfinementError):
        assert isinstance(decode_report(data), ConfinementReport)


@pytest.mark.parametrize("trial", [pytest.param(one, id=one.what) for one in TRIALS])
def test_one_trial_gone_wrong_is_enough_to_refuse(trial) -> None:
    wrong = Outcome.REFUSED if trial.is_control else Outcome.ALLOWED
    report = a_report({trial.number: wrong})
    assert report.breaches == (trial.number,)
    with pytest.raises(ConfinementError, match=f"the mouth is not confined.*: {trial.what}"):
        demand(report, "mouth", allow_unconfined=False)
    demand(report, "mouth", allow_unconfined=True)


def test_what_a_machine_does_not_have_is_no_breach() -> None:
    demand(a_report({one.number: Outcome.ABSENT for one in TRIALS}), "eye", allow_unconfined=False)


@pytest.mark.parametrize(
    ("version", "has_filter", "missing"),
    [
        pytest.param(7, True, (), id="all"),
        pytest.param(6, True, (), id="linux-6.12"),
        pytest.param(5, True, (Missing.LANDLOCK_SCOPE,), id="linux-6.10"),
        pytest.param(2, True, (Missing.LANDLOCK_PORTS, Missing.LANDLOCK_SCOPE), id="debian-12"),
        pytest.param(7, False, (Missing.SECCOMP,), id="no-seccomp"),
        pytest.param(0, False, tuple(Missing), id="nothing"),
    ],
)
def test_what_a_kernel_lacks_is_named(version, has_filter, missing) -> None:
    assert missing_of(version, has_filter=has_filter) == missing


def test_a_kernel_without_scope_will_do_and_one_without_ports_will_not() -> None:
    demand(a_report(missing=(Missing.LANDLOCK_SCOPE,)), "eye", allow_unconfined=False)
    for lack in (Missing.LANDLOCK, Missing.LANDLOCK_PORTS, Missing.SECCOMP):
        with pytest.raises(ConfinementError, match=f"the kernel lacks {lack.value}: run Linux 6.7"):
            demand(a_report(missing=(lack,)), "eye", allow_unconfined=False)


def test_the_table_for_people_names_every_trial_and_points_at_the_breach() -> None:
    lines = lines_of(a_report({5: Outcome.ALLOWED}))
    assert len(lines) == len(TRIALS)
    assert [line.split()[0] for line in lines if "BREACH" in line] == ["5"]


@needs_kernel
@pytest.mark.parametrize(
    ("hidden", "missing", "still_refused", "open_now"),
    [
        pytest.param(
            "landlock_create_ruleset",
            ["landlock", "landlock_ports", "landlock_scope"],
            {5, 6, 13, 17, 18, 23},  # what seccomp refuses by itself, signals among it
            {1, 38, 39, 40, 41},
            id="no-landlock",
        ),
        pytest.param("seccomp", ["seccomp"], {1, 23, 38, 39, 40, 41}, {5, 6, 7, 14, 17, 18}, id="no-seccomp"),
    ],
)
def test_on_a_kernel_that_lacks_it_the_report_says_so(tmp_path, hidden, missing, still_refused, open_now) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    python = own_interpreter().program
    answer = run_child(
        "eye", ["trials"], own=[own], others=[other], ports=[8554], before=[python, "-P", str(HIDE), hidden, "--"]
    )
    report = decode_report(bytes.fromhex(answer["trials"]))
    assert [one.value for one in report.missing] == missing
    assert open_now <= set(report.breaches)
    assert not still_refused & set(report.breaches)
    with pytest.raises(ConfinementError, match=f"the kernel lacks {missing[0]}"):
        demand(report, "eye", allow_unconfined=False)


@needs_kernel
@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        pytest.param(
            "import threading as t; t.Thread(target=t.Event().wait, daemon=True).start(); apply(Confinement())",
            "2 threads run already and would stay free",
            id="a-thread-runs",
        ),
        pytest.param(
            "import json; apply(Confinement(forbidden_imports=('json',)))",
            "json is imported in a process that must never have it",
            id="a-forbidden-library-is-loaded",
        ),
        pytest.param(
            "apply(Confinement(read_write=(Path('/nowhere'),)))",
            "/nowhere cannot be kept for this process",
            id="its-folder-is-missing",
        ),
        pytest.param("Confinement(connect_ports=(0,))", "0 is no TCP port", id="no-port"),
        pytest.param("Confinement(read_only=(Path('a'),))", "a cannot be confined to", id="no-place"),
    ],
)
def test_a_confinement_that_cannot_hold_is_refused_with_a_sentence(program, sentence) -> None:
    imports = (
        "from pathlib import Path; from veilleur_agent.confine.process import apply; "
        "from veilleur_agent.confine.profiles import Confinement; "
    )

    done = subprocess.run(
        [sys.executable, "-P", "-c", imports + program],
        env=own_interpreter().environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"ConfinementError: {sentence}" in done.stderr
