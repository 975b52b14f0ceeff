"""Build the eye and keep it looking: cameras to detector to windows to link, in one loop that never waits long.

Capture ─┐                                           ┌─▶ hold ─▶ link ─▶ mouth
Capture ─┼─▶ Scheduler ─▶ Detector ─▶ Lookout ───────┤
Capture ─┘   (a few frames at once)   (one a camera) └─▶ checkpoint, every 10 s and before a statistic goes out
"""

import select
import socket
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

from msgspec.structs import replace

from veilleur_agent.budget import budget_of
from veilleur_agent.child import EXIT_REFUSED
from veilleur_agent.control import (
    Addresses,
    Beat,
    ControlEnd,
    Dealt,
    Ended,
    HoldTight,
    LinkCut,
    LinkReopened,
    Ready,
    Refused,
    RefusedReason,
    Resolve,
    Stop,
    Witnessed,
    to_eye,
)
from veilleur_agent.events import Tell
from veilleur_agent.eye.capture import Capture
from veilleur_agent.eye.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from veilleur_agent.eye.detect import Detector, DetectorRejectedError
from veilleur_agent.eye.errors import CheckpointRejectedError, DetectorLostError, EyeRefusedError
from veilleur_agent.eye.posts import Posts
from veilleur_agent.eye.scheduler import Scheduler
from veilleur_agent.eye.settings import EyeSettings, settings_of
from veilleur_agent.eye.stills import Detectors, looks_of
from veilleur_agent.eye.timesource import is_synced
from veilleur_agent.eye.upkeep import upkeep_of
from veilleur_agent.hold import Hold, HoldRejectedError, restore_hold
from veilleur_agent.link import Allowances, EyeEnd, LinkCutError, discard, others_budget
from veilleur_agent.starts import EyeStart
from veilleur_contracts.clock import Clock, SystemClock
from veilleur_contracts.codec import context_number_of
from veilleur_contracts.messages import Record, Reported

LOOP_S: Final = 0.05
CHORES_EVERY_S: Final = 0.05
BEAT_EVERY_S: Final = 1.0
CHECKPOINT_EVERY_S: Final = 10.0
SYNC_EVERY_S: Final = 10.0
POLICY_EVERY_S: Final = 5.0
"""A stop holds that soon after it lies before the eye; it has 60 s from a DPO's word on."""
ANNOUNCED_EVERY_S: Final = 1.0
"""The same for what the mouth announces; a mouth that never stops announcing costs no more than a turn a second."""
REPORT_EVERY_S: Final = 3600.0
FAILURES_MAX: Final = 10
"""Frames in a row that could not be looked at, whatever their camera: then the detector is lost."""
REPORTS_MAX: Final = 1024
"""What is kept for a box that does not listen at the moment."""
LAST_FRAMES_S: Final = 2.0
LAST_LOOK_S: Final = 0.2


def run(start: EyeStart, control: ControlEnd, link: socket.socket, tell: Tell) -> int:
    """Look until box says stop; return the exit code.

    Raises:
        ControlClosedError: Box is gone.
        DetectorLostError: Nothing can be looked at any more.
    """
    try:
        settings = settings_of(start)
        with ExitStack() as detectors:
            people = detectors.enter_context(Detector(settings.package))
            faces = None if settings.faces is None else detectors.enter_context(Detector(settings.faces))
            Eye(settings, Detectors(people, faces), control, link, tell).run()
    except EyeRefusedError as refusal:
        return _refuse(control, tell, refusal)
    except DetectorRejectedError:
        return _refuse(control, tell, EyeRefusedError(RefusedReason.MODEL))
    return 0


def _refuse(control: ControlEnd, tell: Tell, refusal: EyeRefusedError) -> int:
    tell("eye.refused", reason=refusal.reason.value)
    control.say(Refused(refusal.reason, refusal.subject))
    return EXIT_REFUSED


class Eye:
    """One eye, from its start to its end.

    Args:
        settings: Verified.
        detectors: Shared by all cameras.
        control: The pair with box.
        link: The eye's end of the link.
        tell: Says a registered event.
    """

    def __init__(
        self, settings: EyeSettings, detectors: Detectors, control: ControlEnd, link: socket.socket, tell: Tell
    ) -> None:
        self._settings = settings
        self._control = control
        self._link = link
        self._tell = tell
        self._clock: Clock = SystemClock()
        self._decoder = to_eye()
        self._scheduler = Scheduler(looks_of(detectors))
        self._posts = Posts(settings, self._scheduler, self._clock, tell)
        self._doorways, self._lookouts = self._posts.doorways, self._posts.lookouts
        self._captures = self._posts.captures
        self._upkeep = upkeep_of(settings, detectors, self._clock, tell)
        self._hold: Hold = self._restored()
        budgets = {
            one.id: budget_of(one, settings.window_s(one), settings.permissions).within()
            for one in settings.site.camera
        }
        self._allowances = Allowances(budgets, others_budget(budgets.values()), self._clock)
        for lookout in self._lookouts.values():
            self._allowances.learn(context_number_of(lookout.context), lookout.camera.id)
        self._end = EyeEnd(link, self._hold, self._clock, self._allowances)
        self._is_cut = False
        self._stop_at_s: float | None = None
        self._failures = 0
        self._is_synced = settings.trusts_clock
        self._done_at_s: dict[str, float] = {}
        self._was_full = False
        self._dropped_told = (0, 0)
        self._in_flight = detectors.people.in_flight
        self._reports: deque[Witnessed | Dealt] = deque(maxlen=REPORTS_MAX)
        self._is_announced = False
        self._reported: Reported | None = None

    def run(self) -> None:
        """Look, count and say, until box says stop."""
        self._obey()  # where the cameras are
        self._follow_policy()
        self._introduce()
        self._tell("eye.started", cameras=len(self._lookouts), in_flight=self._in_flight, epoch=self._hold.epoch)
        self._posts.start()
        self._control.say(Ready())
        while self._stop_at_s is None:
            self._look(LOOP_S)
            if self._is_due("chores", CHORES_EVERY_S):
                self._do_chores()
        self._finish(self._stop_at_s)

    def _look(self, wait_s: float) -> bool:
        """Take in the next frame that was looked at; tell whether there was one."""
        analysed = self._scheduler.next(wait_s)
        if analysed is None:
            return False
        camera = analysed.frame.camera
        if analysed.fault is not None:
            self._failures += 1
            self._tell("detector.failed", camera=camera, frames=self._failures)
            if self._failures >= FAILURES_MAX:
                raise DetectorLostError
            return True
        self._failures = 0
        lookout = self._lookouts[camera]
        lookout.take(analysed, self._captures[camera].state)
        self._upkeep.take(analysed, in_good_view=lookout.is_in_good_view)
        return True

    def _do_chores(self) -> None:
        self._obey()
        if self._is_due("beat", BEAT_EVERY_S):
            self._control.say(Beat())
            self._say_tallies()
        if not self._settings.trusts_clock and self._is_due("sync", SYNC_EVERY_S):
            self._is_synced = is_synced()
        self._follow_policy_when_due()
        now_ms, running = self._clock.now_ms(), self._posts.running()
        for name, lookout in self._lookouts.items():
            self._say(lookout.due(now_ms, synced=self._is_synced))
            capture = self._captures[name]
            counters = capture.counters
            health = lookout.health_due(self._posts.state_of(name), counters.reconnects, counters.frames_dropped)
            self._say([] if health is None else [health])
            if name in running and self._doorways[name].should_ask(capture.state):
                self._control.say(Resolve(name))
        if self._is_due("checkpoint", CHECKPOINT_EVERY_S) or self._hold.needs_saving:
            self._save()
        self._pump()

    def _obey(self) -> None:
        """Do what box says."""
        while (order := self._control.hear(self._decoder)) is not None:
            match order:
                case Stop(within_ms=within_ms):
                    self._stop_at_s = self._clock.elapsed_s() + within_ms / 1000
                case Addresses(name=name, addresses=addresses) if name in self._doorways:
                    self._doorways[name].lead_to(addresses)
                case HoldTight(is_tight=is_tight):
                    self._posts.is_tight = is_tight
                    self._done_at_s.pop("policy", None)
                case LinkReopened() if self._is_cut:
                    discard(self._link)
                    self._hold.rewind()
                    self._end = EyeEnd(self._link, self._hold, self._clock, self._allowances)
                    self._is_cut = False
                    self._tell("link.reopened")
                case _:
                    pass  # for the mouth, or a second start: nothing to do

    def _introduce(self) -> None:
        self._say(list(self._posts.introductions()))

    def _follow_policy(self) -> None:
        """Take what was offered, and do what holds now."""
        shift = self._posts.turn()
        self._say(shift.records)
        self._reports.extend(map(Witnessed, shift.happened))
        self._reports.extend(map(Dealt, shift.dealt))
        self._reports.extend(map(Witnessed, self._upkeep.turn(self._posts.allowed(), is_set=self._is_synced)))
        self._say(self._upkeep.due())
        while self._reports and self._control.say(self._reports[0]):
            self._reports.popleft()
        self._report()

    def _follow_policy_when_due(self) -> None:
        is_news = self._is_announced and self._is_due("announced", ANNOUNCED_EVERY_S)
        if self._is_due("policy", POLICY_EVERY_S) or is_news:
            self._is_announced = False
            self._follow_policy()

    def _report(self) -> None:
        """Tell the fleet what is held, when that is something else than before, and each hour."""
        now = self._posts.reported()
        said = self._reported and replace(self._reported, at_s=now.at_s, heard_s=now.heard_s)
        if now != said or self._is_due("report", REPORT_EVERY_S):
            self._reported = now
            self._done_at_s["report"] = self._clock.elapsed_s()
            self._say([now])

    def _say(self, records: Sequence[Record]) -> None:
        for record in records:
            self._hold.say(record)

    def _say_tallies(self) -> None:
        if self._settings.permissions.profile == "bench":
            for lookout in self._lookouts.values():
                self._control.say(lookout.tally())

    def _pump(self) -> None:
        """Keep the link going; a mouth that misbehaves is cut off and told of."""
        if self._is_cut:
            discard(self._link)
            return
        try:
            for document in self._end.pump():
                self._is_announced |= self._posts.announce(document)
        except LinkCutError as cut:
            self._is_cut = True
            self._tell("link.cut", reason=cut.reason.value)
            self._control.say(LinkCut(cut.reason))
            return
        if self._end.mouth_forgot:
            self._end.mouth_forgot = False
            self._tell("link.mouth_forgot")
            self._introduce()
        if self._end.is_full and not self._was_full:
            self._tell("link.full", held=len(self._hold), bytes=self._hold.size_bytes)
        self._was_full = self._end.is_full
        dropped = (self._hold.statistics_dropped, self._hold.technical_dropped)
        if dropped != self._dropped_told and self._is_due("dropped", CHECKPOINT_EVERY_S):
            self._tell(
                "link.records_dropped",
                statistics=dropped[0] - self._dropped_told[0],
                technical=dropped[1] - self._dropped_told[1],
            )
            self._dropped_told = dropped

    def _save(self) -> None:
        """Put windows and hold on disk together; only then may statistics go out."""
        cameras = {name: lookout.checkpoint() for name, lookout in self._lookouts.items()}
        try:
            write_checkpoint(self._settings.checkpoint, Checkpoint(self._hold.checkpoint(), cameras))
        except OSError:
            if self._is_due("refused", CHECKPOINT_EVERY_S):
                self._tell("checkpoint.refused", what="disk")
        else:
            self._hold.saved()

    def _restored(self) -> Hold:
        """Take up what an eye before this one left."""
        now_ms = self._clock.now_ms()
        try:
            saved = read_checkpoint(self._settings.checkpoint)
            hold = restore_hold(None if saved is None else saved.hold, now_ms)
        except (CheckpointRejectedError, HoldRejectedError):
            self._tell("checkpoint.refused", what="hold")
            return restore_hold(None, now_ms)
        for name, camera in {} if saved is None else saved.cameras.items():
            if name in self._lookouts:
                self._lookouts[name].restore(camera)
        return hold

    def _finish(self, stop_at_s: float) -> None:
        """Close the windows, say them, and wait until the mouth has everything or the time is over."""
        for name in self._posts.running():
            self._scheduler.remove(name)
        last_at_s = min(stop_at_s, self._clock.elapsed_s() + LAST_FRAMES_S)
        while self._clock.elapsed_s() < last_at_s and self._look(LAST_LOOK_S):
            pass
        for lookout in self._lookouts.values():
            self._say(lookout.finish())
        self._say_tallies()
        self._save()
        while len(self._hold) and self._clock.elapsed_s() < stop_at_s:
            self._pump()
            self._obey()
            self._control.say(Beat())
            select.select([self._link], [], [], LOOP_S)
        self._save()
        self._upkeep.close()
        with ThreadPoolExecutor(len(self._captures)) as closers:  # each waits for a camera that may be silent
            list(closers.map(Capture.close, self._captures.values()))
        self._tell("eye.stopped", unacknowledged=len(self._hold))
        self._control.say(Ended(len(self._hold)))

    def _is_due(self, what: str, every_s: float) -> bool:
        now_s = self._clock.elapsed_s()
        if now_s - self._done_at_s.get(what, -every_s) < every_s:
            return False
        self._done_at_s[what] = now_s
        return True
