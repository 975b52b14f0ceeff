"""Measure presence in zones: how many at a time, and how long each stayed.

    Tracks ─▶ foot in zone? ─┬─▶ how many now, by label ──▶ Presence ─▶ median, 90th percentile
                             └─▶ one presence each ─▶ Stay, told when it has ended for a while

A presence goes on when its track is lost, renewed or steps out for less than the grace; it is then found again by its
id, or by another id born where it was. Who never moved is no person (a cone, a poster), and nobody knows since when
somebody who was there before the eye opened has stayed. Over a restart a presence is bridged by its place alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from veilleur_agent.eye.assign import assign
from veilleur_agent.eye.polygons import Polygons
from veilleur_agent.eye.records import Tracks
from veilleur_agent.eye.rows import Rows
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.messages import Label
from veilleur_contracts.site import Zone

GRACE_MS: Final = 10_000
"""A presence ends when absent longer: people step aside, and a lorry hides them, for less."""
NEAR_SIZES: Final = 1.0
"""A track born within this distance of a lost presence, in sizes of its box, goes on with it."""
BRIDGED_MS: Final = 60_000
"""Longest blind time, over a restart, through which somebody found in the same place is taken to have stayed."""
STAYS_MAX: Final = 512
FOOT_LIFT: Final = 0.1
"""A box ends a little below the wheels or feet: the share of its height by which the foot lies higher."""
MOTOR: Final = np.isin(np.arange(len(Label)), (int(Label.CAR), int(Label.BUS), int(Label.TRUCK)))

_Fraction = Annotated[float, Meta(ge=-4, le=4)]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


class ZonesRejectedError(RejectedError):
    """Checkpointed presences that cannot be read."""


class _Saved(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One presence without its id: where, who and since when."""

    zone: Annotated[int, Meta(ge=0, le=63)]
    label: Annotated[int, Meta(ge=0, le=5)]
    from_ms: Annotated[int, Meta(ge=0, le=1 << 53)]
    until_ms: Annotated[int, Meta(ge=0, le=1 << 53)]
    foot: tuple[_Fraction, _Fraction]
    size: Annotated[float, Meta(gt=0, le=4)]


@dataclass(frozen=True, slots=True)
class Stay:
    """One presence in one zone, told when it has ended.

    Attributes:
        zone: Index of the zone in the camera's list.
        label: Who stayed.
        from_ms: When it came in, UTC milliseconds.
        until_ms: When it was last inside.
    """

    zone: int
    label: Label
    from_ms: int
    until_ms: int


@dataclass(slots=True)
class _Present(Rows):
    """The presences of the moment: arrays of one length, at most ``STAYS_MAX``."""

    ids: npt.NDArray[np.int64]
    zones: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int8]
    from_ms: npt.NDArray[np.int64]
    until_ms: npt.NDArray[np.int64]
    absent_ms: npt.NDArray[np.int64]
    feet: Floats
    sizes: Floats


class ZoneWatch:
    """Presence in the zones of one camera; holds ``STAYS_MAX`` presences at most.

    Args:
        zones: The zones, in the order in which stays name them.
        labels: Whose presence is measured, in wire order.
        aspect: Width of the frame over its height.
    """

    def __init__(self, zones: Sequence[Zone], labels: Sequence[Label], aspect: float) -> None:
        self._polygons = Polygons([np.array(zone.polygon, np.float64) for zone in zones])
        self._shape = (len(zones), len(labels))
        self._column_of = np.full(len(Label), -1)
        self._column_of[list(labels)] = np.arange(len(labels))
        self._stretch = np.array([aspect, 1.0])
        self._present = _nobody()
        self._at_ms = 0

    def watch(self, tracks: Tracks, at_ms: int) -> tuple[Counts, list[Stay]]:
        """Take in the tracks of one frame.

        Args:
            tracks: Everybody told by the tracker.
            at_ms: Time of the frame, UTC milliseconds; when it goes back, every presence ends.

        Returns:
            How many are in each zone now, int64, shape ``(zones, labels)``, and the stays that have ended.
        """
        ended = self.close() if at_ms < self._at_ms else []
        self._at_ms = at_ms
        ended += self._bridge(at_ms)
        wanted = (self._column_of[tracks.labels] >= 0).nonzero()[0]
        feet, sizes = self._feet(tracks.boxes.take(wanted, axis=0).astype(np.float64))
        zones, places = self._polygons.holding(feet).nonzero()
        them = wanted[places]
        here = _Present(
            ids=tracks.ids[them],
            zones=zones,
            labels=tracks.labels[them],
            from_ms=tracks.born_ms[them],
            until_ms=np.full(len(them), at_ms),
            absent_ms=np.full(len(them), at_ms),
            feet=feet.take(places, axis=0) * self._stretch,
            sizes=sizes[places],
        )
        is_there = self._go_on(here, tracks.moved[them]) | MOTOR[here.labels]
        cells = zones * self._shape[1] + self._column_of[here.labels]
        counts = np.bincount(cells[is_there], minlength=self._shape[0] * self._shape[1]).reshape(self._shape)
        return counts, ended + self._end(self._present.absent_ms < at_ms - GRACE_MS)

    def close(self) -> list[Stay]:
        """End every presence where it stands, as when the stream has ended."""
        return self._end(np.ones(len(self._present.ids), np.bool_))

    def checkpoint(self) -> bytes:
        """Return the presences of the moment as bytes: places and times, no id."""
        present = self._present
        feet = present.feet / self._stretch
        columns = (present.zones, present.labels, present.from_ms, present.until_ms, feet, present.sizes)
        return msgspec.msgpack.encode(list(zip(*(column.tolist() for column in columns), strict=True)))

    def restore(self, data: bytes) -> None:
        """Take up the presences of a checkpoint: who is found in the same place goes on, the others have left.

        Raises:
            ZonesRejectedError: Damaged.
        """
        try:
            saved = msgspec.msgpack.decode(data, type=Annotated[list[_Saved], Meta(max_length=STAYS_MAX)])
        except (msgspec.DecodeError, RecursionError):
            raise ZonesRejectedError("the checkpoint of who is in the zones is damaged; their stays are lost") from None
        saved = [one for one in saved if one.zone < self._shape[0] and one.from_ms <= one.until_ms]
        self._present = _Present(
            ids=-1 - np.arange(len(saved), dtype=np.int64),
            zones=np.array([one.zone for one in saved], np.int64),
            labels=np.array([one.label for one in saved], np.int8),
            from_ms=np.array([one.from_ms for one in saved], np.int64),
            until_ms=np.array([one.until_ms for one in saved], np.int64),
            absent_ms=np.full(len(saved), _BLIND_MS, np.int64),
            feet=np.array([one.foot for one in saved], np.float64).reshape(-1, 2) * self._stretch,
            sizes=np.array([one.size for one in saved], np.float64),
        )
        self._at_ms = int(self._present.until_ms.max(initial=0))

    def _bridge(self, at_ms: int) -> list[Stay]:
        """End those a checkpoint told of too long ago; the others may be looked for from this frame on."""
        blind = self._present.absent_ms == _BLIND_MS
        if not blind.any():
            return []
        ended = self._end(blind & (at_ms - self._present.until_ms > BRIDGED_MS))
        self._present.absent_ms[self._present.absent_ms == _BLIND_MS] = at_ms
        return ended

    def _feet(self, boxes: Floats) -> tuple[Floats, Floats]:
        """Return where each stands, fractions of the frame, and the size of each, frame heights."""
        wide, tall = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        feet = np.empty((len(boxes), 2))
        feet[:, 0], feet[:, 1] = (boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3] - FOOT_LIFT * tall
        return feet, np.sqrt(np.maximum(wide * self._stretch[0] * tall, 1e-8))

    def _go_on(self, here: _Present, moved: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Let every presence go on that is still there, under its own id or an heir's; begin those who came in.

        Args:
            here: Everybody in a zone now; ``from_ms`` is when their track was born.
            moved: Whether each has ever moved: who has not begins no presence, but may take over one.

        Returns:
            bool, of the length of ``here``: who is present.
        """
        present = self._present
        keys = zip(present.ids.tolist(), present.zones.tolist(), strict=True)
        row_of = dict(zip(keys, range(len(present.ids)), strict=True))
        keys = zip(here.ids.tolist(), here.zones.tolist(), strict=True)
        rows = np.array([row_of.get(key, -1) for key in keys], np.intp)
        self._bequeath(here, rows)
        known = rows >= 0
        ongoing = known.nonzero()[0]
        for name in ("ids", "labels", "until_ms", "absent_ms", "feet", "sizes"):
            getattr(present, name)[rows[ongoing]] = getattr(here, name)[ongoing]
        begins = (~known & moved).nonzero()[0][: STAYS_MAX - len(present.ids)]
        if begins.size:
            known[begins] = True
            present.append(here.chosen(begins))
            present.from_ms[-len(begins) :] = self._at_ms
        return known

    def _bequeath(self, here: _Present, rows: npt.NDArray[np.intp]) -> None:
        """Give the presences nobody goes on with to those who were born where they were; fills in ``rows``."""
        new = (rows < 0).nonzero()[0]
        if not new.size:
            return
        present = self._present
        is_lost = np.ones(len(present.ids), np.bool_)
        is_lost[rows[rows >= 0]] = False
        lost = is_lost.nonzero()[0]
        if not lost.size:
            return
        apart = np.linalg.norm(present.feet[lost][:, None] - here.feet[new][None], axis=2)
        apart /= NEAR_SIZES * present.sizes[lost][:, None]
        fits = (apart < 1.0) & (present.zones[lost][:, None] == here.zones[new][None])
        fits &= MOTOR[present.labels[lost]][:, None] == MOTOR[here.labels[new]][None]
        fits &= here.from_ms[new][None] > present.until_ms[lost][:, None]
        heirs, theirs = assign(np.where(fits, apart, np.inf), 1.0)
        rows[new[theirs]] = lost[heirs]

    def _end(self, ended: npt.NDArray[np.bool_]) -> list[Stay]:
        present = self._present
        if not ended.any():
            return []
        stays = [
            Stay(int(zone), Label(int(label)), int(from_ms), int(until_ms))
            for zone, label, from_ms, until_ms in zip(
                present.zones[ended],
                present.labels[ended],
                present.from_ms[ended],
                present.until_ms[ended],
                strict=True,
            )
        ]
        present.keep(~ended)
        return stays


_BLIND_MS: Final = np.iinfo(np.int64).min
"""Absent since before the eye opened: not known yet since when."""


def _nobody() -> _Present:
    none = np.empty(0, np.int64)
    return _Present(
        ids=none,
        zones=none,
        labels=np.empty(0, np.int8),
        from_ms=none,
        until_ms=none,
        absent_ms=none,
        feet=np.empty((0, 2)),
        sizes=np.empty(0),
    )
