"""What a box may do, as a value that ``release`` asks from the first day; it is a rule, so it touches nothing.

A signed policy is turned into ``Permissions`` elsewhere; here are the strictest ones, in force whenever there is doubt,
and the bench ones, which open what a test needs and hold only while every source is ours.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.messages import Label, MessageClass

PERSON_WINDOW_S: Final = 1200
"""Shortest window in which persons are counted (decree 2021-269, the only French precedent)."""
VEHICLE_WINDOW_S: Final = 900
AGGREGATE_WINDOW_S: Final = 300
BENCH_WINDOW_S: Final = 5


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
    """

    profile: str
    classes: frozenset[MessageClass]
    person_window_s: int = PERSON_WINDOW_S
    vehicle_window_s: int = VEHICLE_WINDOW_S
    aggregate_window_s: int = AGGREGATE_WINDOW_S
    person_cell_min: int = 5
    speed_cell_min: int = 5
    keep_images: bool = False

    def window_s_for(self, labels: Iterable[Label]) -> int:
        """Return the shortest window, seconds, in which all of ``labels`` may be counted together."""
        return self.person_window_s if PERSON_LABELS & set(labels) else self.vehicle_window_s


PERSON_LABELS: Final = frozenset({Label.PERSON, Label.BICYCLE})
"""Labels whose small cells are withheld: a cyclist is as much alone in the street as a walker (ADR 0005)."""

STRICTEST: Final = Permissions("strictest", frozenset({MessageClass.TECHNICAL, MessageClass.STATISTICS}))
"""Statistics only, no image: in force when no policy is valid."""

BENCH: Final = Permissions(
    "bench",
    frozenset(MessageClass),
    person_window_s=BENCH_WINDOW_S,
    vehicle_window_s=BENCH_WINDOW_S,
    aggregate_window_s=BENCH_WINDOW_S,
    person_cell_min=1,
    speed_cell_min=5,
)
"""For files and the simulator alone: see ``check_bench_source``."""


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
