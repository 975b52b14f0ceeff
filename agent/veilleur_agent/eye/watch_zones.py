"""Watch who is in the zones of one camera, for how long, and which vehicles stand longer than they may.

Tracks ─┬─▶ ZoneWatch ─▶ numbers, stays ─▶ PresenceWindows ──▶ OccupancyWindow, StayWindow
        └─▶ Stays (in good view) ─▶ time over the limit ─────────────────────▲
                                 └▶ StreetEvent: stands too long, has left
"""

import hashlib
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from veilleur_agent.eye.pipeline import Step
from veilleur_agent.eye.presence import PresenceWindows
from veilleur_agent.eye.records import RawFrame
from veilleur_agent.eye.release_street import event_record
from veilleur_agent.eye.release_zones import occupancy_records, stay_records
from veilleur_agent.eye.stays import Stays, StaysRejectedError, WatchedZone
from veilleur_agent.eye.timesheet import Timesheet
from veilleur_agent.eye.windows import Window
from veilleur_agent.eye.zones import ZoneWatch
from veilleur_contracts.messages import EventKind, Label, Record, StreetEvent
from veilleur_contracts.policy import Permissions
from veilleur_contracts.site import Camera


class _Saved(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    drawn: Annotated[bytes, Meta(max_length=32)]
    presence: bytes
    over: bytes
    stays: bytes
    present: bytes = b"\x90"


class ZonesWatch:
    """The zones of one camera.

    Args:
        camera: Its place in the site.
        context: Number of the Context its records refer to.
        window_s: Length of a window, seconds.
        permissions: What the policy in force allows.
    """

    def __init__(self, camera: Camera, context: int, window_s: int, permissions: Permissions) -> None:
        self._camera = camera
        self._context = context
        self._permissions = permissions
        self._labels = camera.label_set()
        self._drawn = hashlib.sha256(msgspec.msgpack.encode(camera.zone)).digest()
        self._size = (0, 0)
        self._zones = ZoneWatch(camera.zone, self._labels, 1.0)
        self._presence = PresenceWindows(len(camera.zone), self._labels, window_s)
        limited = limited_zones(camera)
        self._has_limits = bool(limited)
        self._stays = Stays(limited)
        self._over = Timesheet(window_s * 1000)

    def take(self, frame: RawFrame, step: Step, *, in_good_view: bool) -> list[StreetEvent]:
        """Take in an observed frame; return which vehicles have just passed their limit, and which have left."""
        if (frame.width, frame.height) != self._size:
            self._resize(frame)
        counts, ended = self._zones.watch(step.tracks, frame.at_ms)
        self._presence.observe(counts, frame.at_ms)
        for stay in ended:
            self._presence.add(stay)
        return self._stood(frame, step) if in_good_view and self._has_limits else []

    def records(self, window: Window) -> list[Record]:
        """Return how many were in each zone, how long they stayed, and how long vehicles stood over the limit."""
        presence, over_ms = self._presence.take(window.start_ms), self._over.take(window.start_ms)
        over_s = {(zone, Label(label)): round(ms / 1000) for (zone, label), ms in over_ms.items()}
        named = (self._context, window, presence, self._labels, self._permissions)
        return [*occupancy_records(*named), *stay_records(*named, over_s=over_s)]

    def finish(self) -> None:
        """End every presence where it stands."""
        for stay in self._zones.close():
            self._presence.add(stay)

    def checkpoint(self) -> bytes:
        """Return open windows, who is in the zones since when, and where vehicles stand."""
        parts = (self._presence.checkpoint(), self._over.checkpoint(), self._stays.checkpoint())
        return msgspec.msgpack.encode(_Saved(self._drawn, *parts, self._zones.checkpoint()))

    def restore(self, data: bytes, *, same_context: bool) -> None:
        """Take up a checkpoint; who is where outlives a Context as long as the zones are the same.

        Raises:
            RejectedError: Damaged, or of other windows.
        """
        try:
            saved = msgspec.msgpack.decode(data, type=_Saved)
        except (msgspec.DecodeError, RecursionError):
            raise StaysRejectedError("the checkpoint of the zones is damaged; their time starts anew") from None
        if saved.drawn == self._drawn:
            self._stays.restore(saved.stays)
            self._zones.restore(saved.present)
        if same_context:
            self._presence.restore(saved.presence)
            self._over.restore(saved.over)

    def _resize(self, frame: RawFrame) -> None:
        """Begin to watch frames of another size; at the first, with those a checkpoint told of."""
        is_first = self._size == (0, 0)
        if not is_first:
            self.finish()
        before = self._zones.checkpoint()
        self._size = (frame.width, frame.height)
        self._zones = ZoneWatch(self._camera.zone, self._labels, frame.width / frame.height)
        if is_first:
            self._zones.restore(before)

    def _stood(self, frame: RawFrame, step: Step) -> list[StreetEvent]:
        told = self._stays.watch(step.tracks, frame.at_ms)
        for over in self._stays.over_limit():
            self._over.add((over.zone, int(over.label)), over.from_ms, over.until_ms)
        events = (
            event_record(
                self._context,
                EventKind.STANDING_VEHICLE,
                one.zone,
                (one.since_ms, frame.at_ms),
                self._permissions,
                over=one.over,
            )
            for one in told
        )
        return [event for event in events if event is not None]


def limited_zones(camera: Camera) -> list[WatchedZone]:
    """Return the zones of ``camera`` in which vehicles may not stand for ever."""
    return [
        WatchedZone(index, np.array(zone.polygon, np.float64), zone.limit_s * 1000)
        for index, zone in enumerate(camera.zone)
        if zone.limit_s is not None
    ]
