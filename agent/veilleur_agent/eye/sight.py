"""What one camera's view is worth: which frames count as observed, what is quarantined, and when to raise the alarm.

    RawFrame, boxes ─▶ ViewWatch ─▶ blind: the frame was not observed
                                ├─▶ a fault believed: what is counted is quarantined
                                └─▶ another fault than told: ViewAlarm

A view is the one its lines, zones and ground points were drawn on: when they change, so does the view.
"""

import hashlib
from typing import Annotated, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from veilleur_agent.eye.camera_health import (
    CHECKPOINT_BYTES_MAX,
    CHECKS_TO_BELIEVE,
    View,
    ViewCheck,
    ViewRejectedError,
    ViewWatch,
)
from veilleur_agent.eye.records import RawFrame
from veilleur_contracts.messages import Quality, ViewAlarm, ViewFault
from veilleur_contracts.site import Camera

FAULTS: Final = {
    View.DARK: ViewFault.DARK,
    View.COVERED: ViewFault.COVERED,
    View.DEFOCUSED: ViewFault.DEFOCUSED,
    View.MOVED: ViewFault.MOVED,
}
OUT_OF_SIGHT: Final = 1000
"""Shift, thousandths of the width, of a view of which nothing is found again."""


class _Saved(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    drawn: Annotated[bytes, Meta(max_length=32)]
    view: Annotated[bytes, Meta(max_length=CHECKPOINT_BYTES_MAX)]


class Sight:
    """Judges the view of one camera.

    Args:
        camera: Its place in the site.
    """

    def __init__(self, camera: Camera) -> None:
        self._camera = camera.id
        self._drawn = hashlib.sha256(msgspec.msgpack.encode((camera.line, camera.zone, camera.ground))).digest()
        self._watch = ViewWatch()
        self._checks = 0
        self._at_ms = 0
        self._shift_permille = 0
        self._told: ViewFault | None = None

    @property
    def is_blind(self) -> bool:
        """Whether the last frame showed nothing, so that it was not observed."""
        return self._watch.blind

    @property
    def faults(self) -> ViewFault:
        """What has been wrong for long enough to be believed."""
        believed, seen = ViewFault(0), self._watch.view
        for view, fault in FAULTS.items():
            if view in seen:
                believed |= fault
        return believed

    @property
    def quality(self) -> Quality:
        """What a window must say of a frame in this view."""
        return Quality.QUARANTINED if self.faults else Quality(0)

    def observe(self, frame: RawFrame, boxes: npt.NDArray[np.float32]) -> bool:
        """Look at a frame; tell whether it shows anything.

        Args:
            frame: As analysed.
            boxes: float32, shape ``(n, 4)``, fractions: where road users are.
        """
        self._at_ms = frame.at_ms
        check = self._watch.observe(frame, boxes)
        if check is not None:
            self._note(check)
        return not self._watch.blind

    def alarm(self) -> ViewAlarm | None:
        """Return what there is to say of the view, None when it has been said.

        The first word comes once the view is sure, good or not, so that nobody waits for the end of an alarm that an
        eye before this one raised. It stays due until ``told``.
        """
        faults = self.faults
        if (
            not self._at_ms
            or faults == self._told
            or (self._told is None and not faults and self._checks < CHECKS_TO_BELIEVE)
        ):
            return None
        shift = self._shift_permille if ViewFault.MOVED in faults else 0
        return ViewAlarm(self._camera, self._at_ms // 1000, int(faults), shift)

    def told(self, alarm: ViewAlarm) -> None:
        """Take note that ``alarm`` was said."""
        self._told = ViewFault(alarm.faults)

    def checkpoint(self) -> bytes | None:
        """Return what a restart must know, None while nothing has been learnt."""
        view = self._watch.checkpoint()
        return None if view is None else msgspec.msgpack.encode(_Saved(self._drawn, view))

    def restore(self, data: bytes) -> None:
        """Take up the view of a checkpoint; one that other lines were drawn on is left, and the present one learnt.

        Raises:
            ViewRejectedError: Damaged.
        """
        try:
            saved = msgspec.msgpack.decode(data, type=_Saved)
        except (msgspec.DecodeError, RecursionError):
            message = "the checkpoint of the camera's view is damaged; a move while the eye was down cannot be noticed"
            raise ViewRejectedError(message) from None
        if saved.drawn == self._drawn:
            self._watch.restore(saved.view)

    def _note(self, check: ViewCheck) -> None:
        self._checks += 1
        if View.MOVED not in check.view:
            self._shift_permille = 0
        elif check.shift is not None:
            self._shift_permille = min(OUT_OF_SIGHT, round(check.shift * 1000))
        elif not self._shift_permille:
            self._shift_permille = OUT_OF_SIGHT
