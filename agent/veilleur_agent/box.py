"""The parent: starts eye and mouth, looks names up for them, restarts them, and stops them in order.

               ┌── control ──▶ eye ═══ link ═══▶ mouth ◀── control ──┐
    box ───────┤   (both ends of the link stay open here)            ├─── box
               └── stdout, stderr: registered events only ◀──────────┘

Holds no frame and no connection. What ends when is decided here alone: first the eye, which closes its windows and
waits until the mouth has them, then the mouth, which waits for the fleet.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from importlib.metadata import version
from typing import Final

from veilleur_agent.audit import AuditLog, AuditUnwritableError
from veilleur_agent.audit_key import read_or_make_key
from veilleur_agent.budget import Budget, TokenBucket
from veilleur_agent.clerk import Clerk, noting
from veilleur_agent.confine.errors import ConfinementError
from veilleur_agent.confine.report import ConfinementReport, demand
from veilleur_agent.control import (
    BROKER_NAME,
    FLEET_NAME,
    MOUTH_NAMES,
    Addresses,
    AuditCopied,
    Confined,
    Dealt,
    Egressed,
    FromChild,
    HoldTight,
    LinkCut,
    LinkReopened,
    Numbered,
    Ready,
    Refused,
    RefusedReason,
    Resolve,
    Tallied,
    Witnessed,
)
from veilleur_agent.courier import Courier
from veilleur_agent.errands import errands_in, errands_of
from veilleur_agent.errors import StartRefusedError
from veilleur_agent.events import Tell
from veilleur_agent.eye.timesource import is_synced
from veilleur_agent.keeper import ChildKind, Keeper, Pace, module_program
from veilleur_agent.link import link_pair
from veilleur_agent.offers import remove_offer
from veilleur_agent.plan import Plan
from veilleur_agent.preflight import lock_state
from veilleur_agent.reporter import Reporter
from veilleur_agent.resolver import Resolver
from veilleur_agent.starts import ControlMessage
from veilleur_agent.swap import swaps_here
from veilleur_agent.tally import Tally
from veilleur_contracts.audit import BoxStarted, BoxStopped, ConfinementTried, Process, SiteTaken, origin_of
from veilleur_contracts.clock import Clock

EYE_STOP_S: Final = 10.0
GRACE_S: Final = 5.0
TALLY_EVERY_S: Final = 0.5
ERRANDS_EVERY_S: Final = 0.5
WITNESSED: Final = Budget(rate_bytes_s=1.0, burst_bytes=1024)
"""Audit entries, not bytes, that an eye may ask for: one a second, and so many at once (each day of 32 cameras)."""

SENTENCES: Final = {
    RefusedReason.SITE: "the site changed while it was being read: start again",
    RefusedReason.MODEL: "the model {model} does not pass its own checks: build it again with veilleur-models build",
    RefusedReason.SECRETS: "{subject}: its password cannot be read: check that the file of secrets has mode 600, "
    "belongs to the user of the eye, and holds an entry of that name",
    RefusedReason.WINDOW: "{subject}: its windows are shorter than the policy asks for: lengthen site.window_s",
    RefusedReason.GROUND: "{subject}: the points of its ground fix no plane: veilleur-agent check says which to "
    "measure again",
    RefusedReason.FACES: "the model of faces, without which no still is kept, does not pass its own checks: build it "
    "again with veilleur-models build centerface",
    RefusedReason.BENCH: "{subject}: the bench policy holds only for files and the simulator's own streams",
    RefusedReason.ROOT: "the root this box was enrolled with cannot be used: enrol it again with an empty --state",
    RefusedReason.SPAWN: "eye or mouth cannot be started: check that the users of VEILLEUR_EYE_UID and "
    "VEILLEUR_MOUTH_UID may read and run the program and Python",
    RefusedReason.DISK: "the disk refuses the outbox in the state folder: it is full, read-only or failing; make room "
    "or look at its owner, and start again (a unit with Restart=always does that by itself)",
    RefusedReason.CONFINEMENT: "a child could not give up its rights: check the kernel's log, and that the folders of "
    "the site exist; --allow-unconfined goes on without",
    RefusedReason.OUTBOX_NEWER: "the outbox was made by a newer agent: install that one, or give another --state",
}


class Box:
    """One agent, from its start to its end.

    Args:
        plan: What was checked.
        tell: The log.
        clock: For watching.
        pace: How long children may take.
    """

    def __init__(self, plan: Plan, tell: Tell, clock: Clock, pace: Pace | None = None) -> None:
        self._plan = plan
        self._clock = clock
        has_time = lambda: plan.settings.trust_clock or is_synced()  # noqa: E731 - asked in two places
        self._clerk = Clerk(
            plan.audit,
            self._open_audit,
            tell=tell,
            tighten=self._hold_tight,
            clock=clock,
            is_synced=has_time,
            signed=Courier(plan.papers).hand_audit,
        )
        self._witnessed = TokenBucket(WITNESSED, clock)
        self._eye_link, self._mouth_link = link_pair()
        hosts = {**plan.hosts(), BROKER_NAME: (plan.broker.host, plan.broker.port)}
        for fleet in (plan.door, plan.identity):  # one and the same, where there are both
            if fleet is not None:
                hosts[FLEET_NAME] = (fleet.host, fleet.port)
        self._resolver = Resolver(hosts, clock)
        self._reporter = Reporter(
            plan,
            self._clerk,
            tell,
            clock,
            known=self._resolver.known,
            is_synced=has_time,
        )
        self._tell = noting(tell, self._clerk.note, self._reporter.heard)
        self._questions: asyncio.Queue[str] = asyncio.Queue(maxsize=64)
        is_bench = plan.profile == "bench"
        self._tally = Tally(plan.site.camera, plan.state / "tally.json") if is_bench else None
        self._cut: set[str] = set()
        self.confinement: dict[str, ConfinementReport] = {}
        self._unconfined: ConfinementError | None = None
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        settings = plan.settings
        program = module_program("veilleur_agent.eye")
        eye = ChildKind("eye", program, self._eye_link, settings.eye_uid, self._first_for_eye)
        program = module_program("veilleur_agent.mouth")
        mouth = ChildKind("mouth", program, self._mouth_link, settings.mouth_uid, self._first_for_mouth)
        self.eye = self._keeper(eye, self._eye_said, self._eye_ended, pace)
        self.mouth = self._keeper(mouth, self._mouth_said, self._mouth_ended, pace)

    async def run(self) -> int:
        """Work until SIGINT or SIGTERM; return the exit code.

        Raises:
            StartRefusedError: A child cannot do what it is asked; the sentence says why.
        """
        lock = lock_state(self._plan.state)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        try:
            await self._begin_audit()
            await self._resolver.look_up_all()
            self._tell_start()
            async with asyncio.TaskGroup() as tasks:
                helpers = [
                    tasks.create_task(self._clerk.work(), name="box.clerk"),
                    tasks.create_task(self._answer(), name="box.answer"),
                    tasks.create_task(self._reporter.work(), name="box.report"),
                    tasks.create_task(self._reporter.keep_handing(), name="box.hand"),
                    tasks.create_task(self._write_tally(), name="box.tally"),
                    tasks.create_task(self._run_errands(), name="box.errands"),
                ]
                kept = [tasks.create_task(one.keep(), name=f"box.{one.kind.name}") for one in (self.mouth, self.eye)]
                await self._stop.wait()
                clean = await self._wind_up()
                for helper in helpers:
                    helper.cancel()
                await asyncio.wait(kept)
            self._clerk.note(BoxStopped())
        finally:
            try:
                await self._clerk.close()
            finally:
                self._let_go(lock)
        self._put_tally()
        self._check_refusals()
        self._tell("box.stopped", is_clean=clean)
        return 0

    def _let_go(self, lock: int) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        self._eye_link.close()
        self._mouth_link.close()
        os.close(lock)

    def stop(self) -> None:
        """Begin to stop; asked a second time, wait for nothing more."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def _open_audit(self) -> AuditLog:
        """Open the audit log; runs in the clerk's thread."""
        site = self._plan.site.site
        try:
            key = read_or_make_key(self._plan.state / "audit-key.pem")
        except OSError as error:
            raise AuditUnwritableError(f"the key of the audit cannot be made: {error.strerror}") from None
        return AuditLog.open_or_begin_again(self._plan.audit, origin_of(site.controller, site.box), key, self._clock)

    async def _begin_audit(self) -> None:
        self._clerk.note(BoxStarted(version("veilleur"), self._plan.profile))
        self._clerk.note(SiteTaken(self._plan.site_sha256))
        await self._clerk.begin()

    def _hold_tight(self, is_tight: bool) -> None:  # noqa: FBT001 - its one meaning is in its name
        self.eye.say(HoldTight(is_tight))

    def _write_down(self, message: Witnessed) -> None:
        """Note what the eye alone knows, as fast as an honest eye says it."""
        if self._witnessed.take(1):
            self._clerk.note(message.what)
            self._reporter.stir()
        else:
            self._tell("audit.entry_dropped")

    def _keeper(
        self, kind: ChildKind, told: Callable[[FromChild], None], ended: Callable[[], None], pace: Pace | None
    ) -> Keeper:
        return Keeper(kind, told=told, ended=ended, tell=self._tell, clock=self._clock, pace=pace)

    def _tell_start(self) -> None:
        plan = self._plan
        self._tell(
            "box.started",
            box=plan.site.site.box,
            profile=plan.profile,
            cameras=len(plan.site.camera),
            link_bytes_per_day_max=plan.leak_bytes_per_day(),
        )
        in_clear = swaps_here()
        if in_clear:
            self._tell("swap.in_clear", swaps=len(in_clear))
        for name in self._resolver.names():
            if not self._resolver.known(name):
                self._tell("address.unknown", name=name)

    def _first_for_eye(self) -> tuple[ControlMessage, ...]:
        cameras = (name for name in self._resolver.names() if name not in MOUTH_NAMES)
        addresses = (Addresses(name, self._resolver.known(name)) for name in cameras)
        return (self._plan.eye_start(), HoldTight(self._clerk.is_tight), *addresses)

    def _first_for_mouth(self) -> tuple[ControlMessage, ...]:
        return (self._plan.mouth_start(self._resolver.known(BROKER_NAME), self._resolver.known(FLEET_NAME)),)

    def _eye_said(self, message: FromChild) -> None:
        match message:
            case Tallied() if self._tally is not None:
                self._tally.add(message)
            case Resolve(name=name) if name not in MOUTH_NAMES:
                self._ask(name)
            case Witnessed():
                self._write_down(message)
            case Dealt(sha256=sha256):
                with contextlib.suppress(OSError):  # it will be dealt with again
                    remove_offer(self._plan.offers, sha256)
            case LinkCut(reason=reason):
                self._cut_off(self.mouth, reason.value)
            case Refused():
                self._consider(self.eye)
            case Confined(report=report):
                self._judge(self.eye, report)
            case Ready():
                self._begin(self.eye)

    def _mouth_said(self, message: FromChild) -> None:
        match message:
            case Numbered() if self._tally is not None:
                self._tally.add_numbers(message)
            case Egressed():
                self._reporter.egressed(message)
            case AuditCopied():
                self._reporter.copied(message)
            case Resolve(name=name) if name in MOUTH_NAMES:
                self._ask(name)
            case LinkCut(reason=reason):
                self._cut_off(self.eye, reason.value)
            case Refused():
                self._consider(self.mouth)
            case Confined(report=report):
                self._judge(self.mouth, report)
            case Ready():
                self._begin(self.mouth)

    def _judge(self, child: Keeper, report: ConfinementReport) -> None:
        """Keep what ``child`` measured of its confinement; one that is not confined is ended, whatever it thinks."""
        name = child.kind.name
        self.confinement[name] = report
        self._reporter.confined(name, report)
        self._clerk.note(ConfinementTried(Process(name), holds=not report.breaches))
        for number in report.breaches:
            self._tell("confinement.breach_found", child=name, trial=number)
        try:
            demand(report, name, allow_unconfined=self._plan.settings.allow_unconfined)
        except ConfinementError as error:
            self._unconfined = error
            child.kill()
            self.stop()

    def _begin(self, child: Keeper) -> None:
        """Take note that ``child`` works; one that did not say first how it is confined is ended."""
        if child.kind.name in self.confinement:
            self._tell("child.ready", child=child.kind.name)
            self._reporter.is_ready(child.kind.name)
            return
        self._unconfined = ConfinementError(
            f"the {child.kind.name} does not say how it is confined: reinstall the agent"
        )
        child.kill()
        self.stop()

    def _cut_off(self, peer: Keeper, reason: str) -> None:
        """End a child that misbehaved on the link; the other listens again once it is gone."""
        self._tell("link.peer_cut", child=peer.kind.name, reason=reason)
        self._cut.add(peer.kind.name)
        peer.kill()
        if peer.pid is None:
            (self._eye_ended if peer is self.eye else self._mouth_ended)()

    def _eye_ended(self) -> None:
        self.confinement.pop("eye", None)
        if self._tally is not None:
            self._tally.eye_ended()
        if "eye" in self._cut:
            self._cut.discard("eye")
            self.mouth.say(LinkReopened())

    def _mouth_ended(self) -> None:
        self._reporter.mouth_ended()
        self.confinement.pop("mouth", None)
        if "mouth" in self._cut:
            self._cut.discard("mouth")
            self.eye.say(LinkReopened())

    def _consider(self, child: Keeper) -> None:
        """Give up when a child refuses at its very first start; later, the last good state may come back."""
        if not child.was_ready:
            self.stop()

    def _check_refusals(self) -> None:
        if self._unconfined is not None:
            raise StartRefusedError(str(self._unconfined))
        for child in (self.eye, self.mouth):
            if child.refusal is not None and not child.was_ready:
                subject = child.refusal.subject
                sentence = SENTENCES[child.refusal.reason]
                where = f"camera {subject}" if subject else "the agent"
                raise StartRefusedError(sentence.format(model=self._plan.settings.model, subject=where))

    def _ask(self, name: str) -> None:
        with contextlib.suppress(asyncio.QueueFull):  # it will be asked again
            self._questions.put_nowait(name)

    async def _answer(self) -> None:
        """Look up again what children cannot reach."""
        while True:
            name = await self._questions.get()
            addresses = await self._resolver.look_up(name)
            if addresses is not None:
                (self.mouth if name in MOUTH_NAMES else self.eye).say(Addresses(name, addresses))

    async def _run_errands(self) -> None:
        """Write down what commands ask for; they wait until their file is gone."""
        folder = errands_of(self._plan.state)
        while True:
            for path, errand in errands_in(folder):
                if errand is None or await self._clerk.write(errand):
                    with contextlib.suppress(OSError):  # it is written again, rather than never
                        path.unlink(missing_ok=True)
            await asyncio.sleep(ERRANDS_EVERY_S)

    async def _write_tally(self) -> None:
        while True:
            self._put_tally()
            await asyncio.sleep(TALLY_EVERY_S)

    def _put_tally(self) -> None:
        if self._tally is not None and self._tally.is_changed:
            try:
                self._tally.write()
            except OSError:
                self._tell("tally.refused")

    async def _wind_up(self) -> bool:
        """Stop the eye, then the mouth; tell whether both ended by themselves."""
        async with asyncio.TaskGroup() as tasks:
            hurry = tasks.create_task(self._end_at_once(), name="box.hurry")
            eye_ended = await self.eye.stop(EYE_STOP_S, GRACE_S)
            drain_s = self._plan.settings.drain_s if self.eye.was_ready else 0.0  # else nothing was ever counted
            mouth_ended = await self.mouth.stop(drain_s, GRACE_S)
            hurry.cancel()
        return eye_ended and mouth_ended and not self._hurry.is_set()

    async def _end_at_once(self) -> None:
        await self._hurry.wait()
        self._tell("box.hurried")
        self.eye.kill()
        await asyncio.sleep(0)
        self.mouth.kill()
