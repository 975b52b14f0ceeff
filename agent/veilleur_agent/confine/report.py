"""What a process found when it tried, in numbers only, so that it can go to box over the control pair.

try_all ─▶ report_of ─▶ encode_report ═control═▶ decode_report ─▶ demand: raises unless everything held
"""

import errno
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from veilleur_agent.confine.errors import ConfinementError
from veilleur_agent.confine.process import INDISPENSABLE, Measured, Missing
from veilleur_agent.confine.profiles import Confinement
from veilleur_agent.confine.trials import OPTIONAL, TRIAL_OF, Outcome, Tried, breaches_of, try_all

REPORT_BYTES_MAX: Final = 1024
NAMED_MAX: Final = 8
"""How many breaches a message names; the report holds them all."""

_Number = Annotated[int, msgspec.Meta(ge=1, le=127)]
_Errno = Annotated[int, msgspec.Meta(ge=0, le=4095)]


class TrialResult(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What came of one trial."""

    number: _Number
    outcome: Outcome
    code: _Errno


class ConfinementReport(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one process measured of its own confinement when it started."""

    landlock_version: Annotated[int, msgspec.Meta(ge=0, le=255)]
    filter_instructions: Annotated[int, msgspec.Meta(ge=0, le=4096)]
    missing: Annotated[tuple[Missing, ...], msgspec.Meta(max_length=len(Missing))]
    trials: Annotated[tuple[TrialResult, ...], msgspec.Meta(min_length=1, max_length=64)]

    @property
    def breaches(self) -> tuple[int, ...]:
        """The numbers of the trials that were not as they must be."""
        tried = [Tried(one.number, one.outcome, one.code) for one in self.trials]
        return tuple(one.number for one in breaches_of(tried))


def report_of(measured: Measured, confinement: Confinement) -> ConfinementReport:
    """Try everything now, in this process, and report."""
    return ConfinementReport(
        measured.landlock_version,
        measured.filter_instructions,
        measured.missing,
        tuple(TrialResult(one.number, one.outcome, one.code) for one in try_all(confinement)),
    )


def encode_report(report: ConfinementReport) -> bytes:
    """Return ``report`` as a message, at most ``REPORT_BYTES_MAX`` bytes."""
    return msgspec.msgpack.encode(report)


def decode_report(data: bytes) -> ConfinementReport:
    """Read a report.

    Raises:
        ConfinementError: It is none, or does not hold every trial once.
    """
    if len(data) > REPORT_BYTES_MAX:
        raise ConfinementError(f"a confinement report is longer than {REPORT_BYTES_MAX} bytes: restart the process")
    try:
        report = msgspec.msgpack.decode(data, type=ConfinementReport)
    except msgspec.DecodeError as error:
        raise ConfinementError(f"a confinement report cannot be read ({error}): restart the process") from None
    numbers = [one.number for one in report.trials]
    if len(set(numbers)) != len(numbers) or set(numbers) | OPTIONAL != set(TRIAL_OF):
        raise ConfinementError("a confinement report does not hold every trial once: restart the process")
    return report


def demand(report: ConfinementReport, process: str, *, allow_unconfined: bool) -> None:
    """Insist that ``process`` is confined.

    Raises:
        ConfinementError: A way was found open, something needed was found shut, or the kernel lacks what it takes, and
            ``allow_unconfined`` was not asked for.
    """
    if allow_unconfined:
        return
    lacks = [one.value for one in report.missing if one in INDISPENSABLE]
    wrong = [TRIAL_OF[number] for number in report.breaches]
    shut = [f"cannot: {trial.what}" for trial in wrong if trial.is_control]
    found_open = [f"can: {trial.what}" for trial in wrong if not trial.is_control]
    if lacks:
        raise ConfinementError(
            f"the {process} is not confined, the kernel lacks {', '.join(lacks)}: "
            "run Linux 6.7 or later with Landlock and seccomp switched on, or accept it with --allow-unconfined"
        )
    if wrong:
        named = "; ".join((*found_open, *shut)[:NAMED_MAX])
        raise ConfinementError(
            f"the {process} is not confined as it must be ({named}): "
            "correct the paths and ports it was given, or accept it with --allow-unconfined"
        )


def lines_of(report: ConfinementReport) -> Sequence[str]:
    """Return ``report`` as a table for people, one trial a line."""
    words = {Outcome.REFUSED: "refused", Outcome.ALLOWED: "allowed", Outcome.ABSENT: "absent"}
    breaches = set(report.breaches)
    return [
        f"{one.number:>3}  {words[one.outcome]:<8} {'BREACH' if one.number in breaches else 'ok':<7}"
        f"{errno.errorcode.get(one.code, ''):<16}{TRIAL_OF[one.number].what}"
        for one in report.trials
    ]
