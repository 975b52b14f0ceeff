"""What a box may do, as a value that ``release`` asks from the first day; it is a rule, so it touches nothing.

A signed policy is turned into ``Permissions`` elsewhere; here are the strictest ones, in force whenever there is doubt,
and the bench ones, which open what a test needs and hold only while every source is ours.
"""

import hashlib
import ipaddress
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.messages import Label, MessageClass

PERSON_WINDOW_S: Final = 1200
"""Shortest window in which persons are counted (decree 2021-269, the only French precedent)."""
VEHICLE_WINDOW_S: Final = 900
AGGREGATE_WINDOW_S: Final = 300
BENCH_WINDOW_S: Final = 5


MaskUnit = Annotated[int, Meta(ge=0, le=10_000, description="ten-thousandths of the frame")]
Mask = tuple[tuple[MaskUnit, MaskUnit], ...]
"""Corners of a part of the frame that is burnt out before anything looks at it; integers, so that it can be signed."""


class EventKind(StrEnum):
    """What one object may trigger (class E); each needs an authorisation of its own."""

    STOPPED_VEHICLE = "stopped-vehicle"
    BULKY_OBJECT = "bulky-object"
    WRONG_WAY = "wrong-way"


class AggregateKind(StrEnum):
    """What may be said of the state of a road or place (class A); each needs the DPO's visa."""

    ROAD_STATE = "road-state"
    CROWD_BAND = "crowd-band"


class BenchRefusedError(RejectedError):
    """The bench profile was asked for over a source that is not ours to experiment on."""


class Permissions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``release`` may let out.

    Attributes:
        profile: Name of the profile, said in Birth and on every page.
        classes: Classes of message that may exist.
        person_window_s: Shortest window that may hold persons or cyclists, seconds.
        vehicle_window_s: Shortest window for motor vehicles, seconds.
        aggregate_window_s: Shortest window of class A, seconds.
        person_cell_min: k: a person or cyclist cell of 1..k−1 is withheld.
        speed_cell_min: Fewest vehicles from which a speed percentile may be told.
        keep_images: Whether redacted stills or clips may be kept at all.
        retention_days: How long those already kept may live, days.
        events: Kinds of event authorised here and now.
        aggregates: Kinds of aggregate that carry a visa.
        masks: Parts of the frame burnt out before inference.
        masks_decided: Whether somebody decided what to mask (nothing is a decision); without it a street camera does
            not run.
    """

    profile: str
    classes: frozenset[MessageClass]
    person_window_s: int = PERSON_WINDOW_S
    vehicle_window_s: int = VEHICLE_WINDOW_S
    aggregate_window_s: int = AGGREGATE_WINDOW_S
    person_cell_min: int = 5
    speed_cell_min: int = 5
    keep_images: bool = False
    retention_days: int = 0
    events: frozenset[EventKind] = frozenset()
    aggregates: frozenset[AggregateKind] = frozenset()
    masks: frozenset[Mask] = frozenset()
    masks_decided: bool = False

    def window_s_for(self, labels: Iterable[Label]) -> int:
        """Return the shortest window, seconds, in which all of ``labels`` may be counted together."""
        return self.person_window_s if PERSON_LABELS & set(labels) else self.vehicle_window_s


PERSON_LABELS: Final = frozenset({Label.PERSON, Label.BICYCLE})
"""Labels whose small cells are withheld: a cyclist is as much alone in the street as a walker (ADR 0005)."""

STRICTEST: Final = Permissions("strictest", frozenset({MessageClass.TECHNICAL, MessageClass.STATISTICS}))
"""Statistics only, no image: in force when no policy is valid."""

STOPPED: Final = Permissions("stopped", frozenset({MessageClass.TECHNICAL}))
"""Nothing but health: in force under a DPO's stop."""

BENCH: Final = Permissions(
    "bench",
    frozenset(MessageClass),
    person_window_s=BENCH_WINDOW_S,
    vehicle_window_s=BENCH_WINDOW_S,
    aggregate_window_s=BENCH_WINDOW_S,
    person_cell_min=1,
    speed_cell_min=5,
    events=frozenset(EventKind),
    aggregates=frozenset(AggregateKind),
    masks_decided=True,
)
"""For files and the simulator alone: see ``check_bench_source``."""


HASH_DIGITS: Final = 16
"""How many hexadecimal digits of a SHA-256 a Context carries."""


def digest_of(permissions: Permissions) -> str:
    """Return the first 64 bits of the SHA-256 of ``permissions``, hexadecimal, as a Context says them."""
    return hashlib.sha256(msgspec.json.encode(permissions, order="deterministic")).hexdigest()[:HASH_DIGITS]


BENCH_DIGESTS: Final = frozenset({"6391b4f0bad6a32b"})
"""Every ``digest_of(BENCH)`` there has been: counts under one of them are of a bench, not of a street."""


LARGER_IS_TIGHTER: Final = (
    "person_window_s",
    "vehicle_window_s",
    "aggregate_window_s",
    "person_cell_min",
    "speed_cell_min",
)
SMALLER_IS_TIGHTER: Final = ("keep_images", "retention_days", "masks_decided")
FEWER_IS_TIGHTER: Final = ("classes", "events", "aggregates")
MORE_IS_TIGHTER: Final = ("masks",)


def fields_looser(old: Permissions, new: Permissions) -> tuple[str, ...]:
    """Name each field in which ``new`` allows something that ``old`` does not, in a fixed order.

    A field whose values cannot be ordered (other masks, other kinds) is looser both ways. The profile's name is no
    rule.
    """
    larger = (name for name in LARGER_IS_TIGHTER if getattr(new, name) < getattr(old, name))
    smaller = (name for name in SMALLER_IS_TIGHTER if getattr(new, name) > getattr(old, name))
    fewer = (name for name in FEWER_IS_TIGHTER if not getattr(new, name) <= getattr(old, name))
    more = (name for name in MORE_IS_TIGHTER if not getattr(new, name) >= getattr(old, name))
    return (*larger, *smaller, *fewer, *more)


def is_within(tight: Permissions, loose: Permissions) -> bool:
    """Tell whether ``tight`` allows nothing that ``loose`` does not: a partial order, names apart."""
    return not fields_looser(loose, tight)


def tightest_of(first: Permissions, second: Permissions, profile: str) -> Permissions:
    """Return what both allow, under the name ``profile``: the greatest lower bound of the two."""
    joined: dict[str, object] = {}
    for name in LARGER_IS_TIGHTER:
        joined[name] = max(getattr(first, name), getattr(second, name))
    for name in SMALLER_IS_TIGHTER:
        joined[name] = min(getattr(first, name), getattr(second, name))
    for name in FEWER_IS_TIGHTER:
        joined[name] = getattr(first, name) & getattr(second, name)
    for name in MORE_IS_TIGHTER:
        joined[name] = getattr(first, name) | getattr(second, name)
    return msgspec.structs.replace(first, profile=profile, **joined)


def strictest_after(last: Permissions | None) -> Permissions:
    """Return what holds when the policy that gave ``last`` no longer does.

    Never more than ``last`` allowed: a policy tighter than the strictest profile does not loosen by expiring. What was
    decided about masks stays decided, so that a street goes on being counted, behind its masks.
    """
    if last is None:
        return STRICTEST
    behind_masks = msgspec.structs.replace(STRICTEST, masks=last.masks, masks_decided=last.masks_decided)
    return tightest_of(last, behind_masks, STRICTEST.profile)


def check_bench_source(source: str, *, is_regular_file: bool, token: str | None) -> None:
    """Refuse the bench profile over anything but a regular file or the simulator's own stream.

    Args:
        source: The camera's source as the site gives it: a path or a URL.
        is_regular_file: What the caller found on disk at ``source``.
        token: The simulator's one-time token, or None when there is none.

    Raises:
        BenchRefusedError: The source might be a real street.
    """
    if is_regular_file:
        return
    url = urlsplit(source)
    first = url.path.lstrip("/").split("/", 1)[0]
    if url.scheme == "rtsp" and _is_loopback(url.hostname) and token and first == token:
        return
    message = "the bench policy holds only for files and for the simulator's own loopback streams; use a signed policy"
    raise BenchRefusedError(message)


def _is_loopback(host: str | None) -> bool:
    try:
        return host is not None and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
