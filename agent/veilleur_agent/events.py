"""The events a process may log: each name with its values and their types, and nothing else gets past box.

    eye, mouth ──JSON lines on a pipe──▶ box: registered? typed? within budget? ──▶ box's log
                                               └── no: counted and dropped, never shown

A value is a bounded integer, a flag, an id, or a word of a short list: nothing that could hold a sentence or a picture.
"""

from collections.abc import Callable, Mapping, MutableMapping
from enum import StrEnum
from typing import Any, Final, TextIO

import msgspec
import structlog

from veilleur_agent.budget import Budget, TokenBucket
from veilleur_agent.control import RefusedReason
from veilleur_agent.link import CutReason
from veilleur_contracts.clock import Clock
from veilleur_contracts.enrolment import Refusal
from veilleur_contracts.ids import is_slug
from veilleur_contracts.messages import CameraState, FetchFault

LINE_BYTES_MAX: Final = 512
NUMBER_MAX: Final = 1 << 53
WORD_MAX: Final = 64
OUTPUT_BUDGET: Final = Budget(rate_bytes_s=256.0, burst_bytes=32_768)
"""What a child may log: 22 MB a day at the very most, of names and numbers."""

WATCHES: Final = ("zones", "objects", "speeds", "ways")
"""Names of what a camera is watched for besides crossings, as its checkpoint calls them."""

Value = int | bool | str
Kind = type[int] | type[bool] | type[str] | frozenset[str]


def _words(*words: str) -> frozenset[str]:
    return frozenset(words)


def _names_of(enum: type[StrEnum]) -> frozenset[str]:
    return frozenset(member.value for member in enum)


ID: Final = str
CAMERA_STATES: Final = frozenset(state.name.lower() for state in CameraState)
PROFILES: Final = _words("bench", "strictest", "signed", "stopped")
WHY: Final = _words(
    *("none", "no-policy", "not-covered", "unfounded", "expired", "root-expired", "no-contact", "behind", "clock"),
    *("stopped", "audit-unwritable", "masks-undecided"),
)
"""Why a camera may do no more: ``standing.WhyStrict`` and what the eye adds; the modules that verify stay with it."""
DOCUMENTS: Final = _words("root", "policy", "stop", "contact", "report", "standing", "unknown")
REFUSALS: Final = _words(
    *("truncated-document", "malformed-document", "wrong-type", "wrong-controller", "forged", "unknown-key"),
    *("under-signed", "older", "expired", "not-yet"),
)
FETCH_FAULTS: Final = frozenset(fault.name.lower().replace("_", "-") for fault in FetchFault)
NOT_RENEWED: Final = _names_of(Refusal) | _words(
    *("unreachable", "ended", "unusable", "disk", "authority", "name", "clock-behind", "clock-ahead")
)
"""Why there is no next certificate: what the fleet says, or what is in the way."""

EVENTS: Final[Mapping[str, Mapping[str, Kind]]] = {
    "eye.started": {"cameras": int, "in_flight": int, "epoch": int},
    "eye.stopped": {"unacknowledged": int},
    "eye.refused": {"reason": _names_of(RefusedReason)},
    "camera.state_changed": {"camera": ID, "state": CAMERA_STATES, "reconnects": int},
    "camera.view_changed": {"camera": ID, "is_moved": bool, "is_blind": bool, "is_defocused": bool},
    "camera.permissions_changed": {"camera": ID, "profile": PROFILES, "why": WHY, "runs": bool},
    "document.refused": {"document": DOCUMENTS, "reason": REFUSALS},
    "windows.withheld": {"camera": ID},
    "camera.keeping_changed": {"camera": ID, "keeps": bool, "why": _words("none", "not-allowed", "clock")},
    "still.withheld": {"camera": ID},
    "clips.destroyed": {"camera": ID, "why": _words("old", "not-allowed", "key-gone")},
    "clips.refused": {"what": _words("full", "disk", "store", "key", "reckoning")},
    "clock.jumped": {"by_s": int},
    "detector.failed": {"camera": ID, "frames": int},
    "street.events_dropped": {"camera": ID, "events": int},
    "windows.restored": {"camera": ID},
    "windows.lost": {"camera": ID},
    "checkpoint.refused": {"what": _words("hold", "windows", "release", "view", "disk", "standing", *WATCHES)},
    "link.cut": {"reason": _names_of(CutReason)},
    "link.reopened": {},
    "link.full": {"held": int, "bytes": int},
    "link.records_dropped": {"statistics": int, "technical": int},
    "link.mouth_forgot": {},
    "mouth.started": {"started_ms": int, "rows": int},
    "mouth.stopped": {"left": int},
    "mouth.refused": {"reason": _names_of(RefusedReason)},
    "outbox.disk_refused": {},
    "outbox.awaited": {},
    "outbox.disk_accepted": {},
    "outbox.damaged": {},
    "outbox.records_dropped": {"records": int},
    "outbox.records_coarsened": {"records": int},
    "uplink.connected": {"mqtt": int, "failures": int},
    "uplink.lost": {"reason": _words("refused", "unreachable"), "code": int},
    "uplink.unacknowledged": {},
    "uplink.unheard": {},
    "uplink.ack_rejected": {},
    "papers.refused": {},
    "twin.heard": {"sequence": int, "documents": int},
    "twin.rejected": {},
    "twin.refused": {},
    "document.fetched": {"kind": ID, "tries": int},
    "document.unfetched": {"kind": ID, "fault": FETCH_FAULTS, "tries": int},
    "gateway.connected": {"sensors": int},
    "gateway.lost": {},
    "gateway.uplink_refused": {"sensor": ID},
    "certificate.renewed": {"hours_left": int},
    "certificate.not_renewed": {"reason": NOT_RENEWED},
    "child.confined": {"landlock": int, "filter": int, "trials": int, "breaches": int},
    "child.crashed": {"error": ID, "module": ID, "line": int},
}


class EventUnknownError(Exception):
    """A bug: an event was logged that is not registered, or with values that are not."""


def check_event(event: str, values: Mapping[str, object]) -> dict[str, Value] | None:
    """Return the values of a registered event; None when it is not one, or a value is not what it must be."""
    kinds = EVENTS.get(event)
    if kinds is None or kinds.keys() != values.keys():
        return None
    checked: dict[str, Value] = {}
    for name, kind in kinds.items():
        value = values[name]
        if not _is_kind(value, kind):
            return None
        checked[name] = value  # type: ignore[assignment]  # _is_kind has just looked
    return checked


def _is_kind(value: object, kind: Kind) -> bool:
    if isinstance(kind, frozenset):
        return isinstance(value, str) and value in kind
    if kind is bool:
        return isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and -NUMBER_MAX <= value <= NUMBER_MAX
    return isinstance(value, str) and len(value) <= WORD_MAX and is_slug(value)


Tell = Callable[..., None]
"""Says a registered event: ``tell("camera.state_changed", camera=…, state=…)``."""


def teller_to(stream: TextIO) -> Tell:
    """Return what a child logs with: one JSON line for each registered event.

    The returned function raises ``EventUnknownError`` for anything else.
    """
    logger = structlog.wrap_logger(
        structlog.PrintLogger(stream), processors=[_registered_only, structlog.processors.JSONRenderer()]
    )

    def tell(event: str, **values: Value) -> None:
        logger.info(event, **values)

    return tell


def _registered_only(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    values = {name: value for name, value in event.items() if name != "event"}
    if check_event(event["event"], values) is None:
        raise EventUnknownError(f"{event['event']} with {', '.join(sorted(values))} is not a registered event")
    return event


class OutputGate:
    """Reads what a child writes, line by line, and hands on what is registered, typed and within budget.

    Args:
        clock: For the budget.
        hand_on: Takes an event with its values.
    """

    def __init__(self, clock: Clock, hand_on: Callable[[str, dict[str, Value]], None]) -> None:
        self._bucket = TokenBucket(OUTPUT_BUDGET, clock)
        self._hand_on = hand_on
        self._rest = b""
        self._dropping = False
        self.dropped_bytes = 0

    def take(self, data: bytes) -> None:
        """Take in what was read; at most one line is ever kept."""
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._dropping or not self._pass(line):
                self.dropped_bytes += len(line) + 1
            self._dropping = False
        if self._dropping or len(rest) > LINE_BYTES_MAX:
            self.dropped_bytes += len(rest)
            self._dropping, rest = True, b""
        self._rest = rest

    def _pass(self, line: bytes) -> bool:
        if len(line) > LINE_BYTES_MAX:
            return False
        try:
            values = msgspec.json.decode(line, type=dict[str, int | bool | str])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        event = values.pop("event", None)
        checked = check_event(event, values) if isinstance(event, str) else None
        if checked is None or not isinstance(event, str) or not self._bucket.take(len(line)):
            return False
        self._hand_on(event, checked)
        return True
