"""Every camera at its post, doing what it may: begun, masked, split and ended as the mandate says.

Mandate ──held──▶ Post: capture ─▶ masked ─▶ scheduler      another policy: windows closed, a new Context
                    └─▶ lookout                             stopped, or no decision on masks: no frame is read
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from veilleur_agent.control import EyeWitnessed
from veilleur_agent.events import Tell
from veilleur_agent.eye.cameras import Doorway, capture_of, doorway_of
from veilleur_agent.eye.capture import Capture
from veilleur_agent.eye.lookout import Lookout
from veilleur_agent.eye.mandate import (
    MASKS_UNDECIDED,
    Held,
    Mandate,
    held_tight,
    mandate_of,
    may_still_be_told,
    under,
)
from veilleur_agent.eye.mask import Masked
from veilleur_agent.eye.scheduler import Scheduler
from veilleur_agent.eye.settings import EyeSettings
from veilleur_agent.eye.upkeep import Allowed
from veilleur_contracts.audit import StrictFrom, StrictUntil
from veilleur_contracts.clock import Clock
from veilleur_contracts.messages import (
    TWIN_DOCUMENTS_MAX,
    CameraState,
    DocumentReady,
    MessageClass,
    Record,
    Reported,
    Strictness,
)
from veilleur_contracts.site import Camera

NOT_STRICT: Final = "none"
STOPPED_BY: Final = "stopped"
CAMERAS_TOLD_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class Shift:
    """What one turn came to.

    Attributes:
        records: To be said: what the windows that were closed tell, and the new Contexts.
        happened: For the audit.
        dealt: Documents that need not be offered again.
    """

    records: tuple[Record, ...]
    happened: tuple[EyeWitnessed, ...]
    dealt: tuple[str, ...]


class Posts:
    """The cameras of one eye; as many as the site has.

    Args:
        settings: Of the eye.
        scheduler: Takes the frames of those that run.
        clock: Of this machine.
        tell: Says a registered event.

    Raises:
        EyeRefusedError: The pinned root cannot be used.
    """

    def __init__(self, settings: EyeSettings, scheduler: Scheduler, clock: Clock, tell: Tell) -> None:
        self._settings = settings
        self._scheduler = scheduler
        self._clock = clock
        self._tell = tell
        self._mandate: Mandate = mandate_of(settings, clock, tell)
        self._held: dict[str, Held] = {}
        self._why_told: str | None = None
        self._is_started = False
        self.is_tight = False
        self.doorways: dict[str, Doorway] = {}
        self.lookouts: dict[str, Lookout] = {}
        self.captures: dict[str, Capture] = {}
        for camera in settings.site.camera:
            self.doorways[camera.id] = doorway_of(camera, settings, clock)
            self.captures[camera.id] = self._capture_of(camera)
            self._place(camera, self._now(camera))

    def start(self) -> None:
        """Begin to read the cameras that may run."""
        self._is_started = True
        for name in self.running():
            self.captures[name].start()

    def running(self) -> list[str]:
        """Return the cameras that are read."""
        return [camera.id for camera in self._settings.site.camera if self._runs(camera.id, self._held[camera.id])]

    def state_of(self, name: str) -> CameraState:
        """Return what the camera ``name`` is doing; of one that is not read, why it is not."""
        held = self._held[name]
        if self._runs(name, held):
            return self.captures[name].state
        return CameraState.STOPPED if held.why == STOPPED_BY else CameraState.FORBIDDEN

    def introductions(self) -> Iterator[Record]:
        """Yield what everything else refers to, of the cameras that may tell statistics at all."""
        for name, lookout in self.lookouts.items():
            if MessageClass.STATISTICS in self._held[name].permissions.classes:
                yield from lookout.introduction()

    def allowed(self) -> dict[str, Allowed]:
        """Return what each camera's pictures may do; while the audit cannot be written, none are kept and none go."""
        return {camera.id: self._allowed(camera) for camera in self._settings.site.camera}

    def _allowed(self, camera: Camera) -> Allowed:
        held, lasting = self._held[camera.id], self._mandate.held(camera).permissions
        keeps = held.permissions.keep_images and self._runs(camera.id, held)
        return Allowed(keeps, lasting.retention_days if lasting.keep_images else 0, held.permissions.masks)

    def turn(self) -> Shift:
        """Look at the documents and at the clock, and do what follows."""
        turn = self._mandate.turn()
        records: list[Record] = []
        for camera in self._settings.site.camera:
            held = self._now(camera)
            if held != self._held[camera.id]:
                records.extend(self._change(camera, held))
        return Shift(tuple(records), (*turn.happened, *self._strictness()), turn.dealt)

    def announce(self, document: DocumentReady) -> bool:
        """Take note of what the mouth has put into its store; tell whether a turn should follow soon."""
        return self._mandate.announce(document)

    def reported(self) -> Reported:
        """Return what the fleet should know: what is held, and what follows for the camera that is held to the least.

        One that is stopped is held to less than one that is strict, and that to less than one whose policy holds.
        """
        papers, running = self._mandate.papers(), self.running()
        name, held = min(
            self._held.items(), key=lambda one: (one[1].why != STOPPED_BY, one[1].why is None, one[0] in running)
        )
        why = held.why or (MASKS_UNDECIDED if held.may_speak and name not in running else NOT_STRICT)
        return Reported(
            at_s=self._clock.now_ms() // 1000,
            root=papers.root,
            policy_version=papers.policy_version,
            policy=papers.policy,
            site=self._settings.hashes.site,
            profile=held.permissions.profile,
            why=Strictness[why.upper().replace("-", "_")],
            running=min(len(running), CAMERAS_TOLD_MAX),
            stops=min(papers.stops, TWIN_DOCUMENTS_MAX),
            heard_s=papers.heard_s,
            refused=papers.refused,
            refusal=papers.refusal,
        )

    def _now(self, camera: Camera) -> Held:
        held = self._mandate.held(camera)
        return held_tight(held) if self.is_tight else held

    def _runs(self, name: str, held: Held) -> bool:
        """Tell whether ``name`` is read: it may speak, and is no street in which nobody has decided what to mask."""
        return held.may_speak and (held.permissions.masks_decided or name in self._settings.files)

    def _change(self, camera: Camera, held: Held) -> list[Record]:
        """Close what was counted under the permissions before, and go on under those ``held``."""
        name, before, lookout = camera.id, self._held[camera.id], self.lookouts[camera.id]
        did_run, masks_before = self._runs(name, before), before.permissions.masks
        records = lookout.give_way()
        if records and not may_still_be_told(before.permissions, held.permissions):
            self._tell("windows.withheld", camera=name)
            records = []
        if did_run:
            self._scheduler.remove(name)
            self._scheduler.forget(name)  # it was begun with other masks
        if did_run and not self._runs(name, held):
            self._close(name)
            self.captures[name] = self._capture_of(camera)
        self._place(camera, held)
        self.lookouts[name].follow(lookout.checkpoint(), same_view=masks_before == held.permissions.masks)
        if self._is_started and self._runs(name, held) and not did_run:
            self.captures[name].start()
        if self._is_started and MessageClass.STATISTICS in held.permissions.classes:
            records = [*records, *self.lookouts[name].introduction()]
        return records

    def _place(self, camera: Camera, held: Held) -> None:
        """Put a new lookout over ``camera``, and its frames, masked, before the scheduler."""
        runs = self._runs(camera.id, held)
        self._held[camera.id] = held
        self.lookouts[camera.id] = Lookout(camera, under(self._settings, held), self._clock, self._tell)
        if runs:
            self._scheduler.add(Masked(self.captures[camera.id], held.permissions.masks), camera.fps)
        why = held.why or (MASKS_UNDECIDED if held.may_speak and not runs else NOT_STRICT)
        profile = held.permissions.profile
        self._tell("camera.permissions_changed", camera=camera.id, profile=profile, why=why, runs=runs)

    def _strictness(self) -> Iterator[EyeWitnessed]:
        """Yield what the audit says when the reason to be strict is another than before."""
        why = next((held.why for held in self._held.values() if held.why is not None), None)
        if why == self._why_told:
            return
        self._why_told = why
        yield StrictUntil() if why is None else StrictFrom(why)

    def _capture_of(self, camera: Camera) -> Capture:
        return capture_of(camera, self.doorways[camera.id], self._clock, self._scheduler.wake)

    def _close(self, name: str) -> None:
        """Let go of a camera without waiting: it may be silent at this moment."""
        threading.Thread(target=self.captures[name].close, name=f"close-{name}", daemon=True).start()
