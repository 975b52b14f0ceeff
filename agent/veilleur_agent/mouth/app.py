"""Build the mouth and keep it going: from the link to the disk, from the disk to the fleet.

link ──intake──▶ outbox ──uplink──▶ broker        control ◀─beat, numbers── · ──stop, addresses──▶ orders
 ▲ acknowledged after the commit ▲
                                 └──gateway◀── sensors beside the box
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from veilleur_agent.child import EXIT_REFUSED
from veilleur_agent.control import (
    BROKER_NAME,
    FLEET_NAME,
    Addresses,
    AuditCopied,
    Beat,
    ControlEnd,
    Egressed,
    Ended,
    FromChild,
    LinkCut,
    LinkReopened,
    Numbered,
    Ready,
    Refused,
    RefusedReason,
    Resolve,
    Stop,
    to_mouth,
)
from veilleur_agent.events import Tell
from veilleur_agent.link import PACKETS_A_TURN, Allowances, CutReason, LinkCutError, MouthEnd, discard, others_budget
from veilleur_agent.mouth.downlink import Downlink
from veilleur_agent.mouth.errors import DiskRefusedError, OutboxNewerError
from veilleur_agent.mouth.fetch import Fetcher
from veilleur_agent.mouth.fetched import Fetched
from veilleur_agent.mouth.gateway import Gateway
from veilleur_agent.mouth.identity import Identity
from veilleur_agent.mouth.inflight import Patience
from veilleur_agent.mouth.meter import Meter
from veilleur_agent.mouth.outbox import Outbox
from veilleur_agent.mouth.papers import Papers
from veilleur_agent.mouth.renewal import Renewal
from veilleur_agent.mouth.settings import MouthSettings, settings_of
from veilleur_agent.mouth.shelf import Shelf
from veilleur_agent.mouth.uplink import Uplink
from veilleur_agent.starts import MouthStart
from veilleur_contracts.clock import Clock, SystemClock
from veilleur_contracts.messages import CONTRACT_REVISION, Birth, Carried, DocumentReady, FetchAlarm

BEAT_EVERY_S: Final = 1.0
EGRESS_EVERY_S: Final = 2.0
EXPIRE_EVERY_S: Final = 60.0
DISK_RETRY_S: Final = 1.0
DISK_AGAIN_S: Final = 0.5
DISK_RETRY_MAX_S: Final = 30.0
CUT_LOOK_EVERY_S: Final = 0.05
STREAMS_TOLD: Final = 64
DRAIN_LOOK_EVERY_S: Final = 0.05


class _Stopped(Exception):  # noqa: N818 - no error: what ends the group of tasks
    """Everything is said, or there is no more time."""


class Mouth:
    """One mouth, from its start to its end.

    Args:
        start: What box says.
        control: The pair with box.
        link: The mouth's end of the link.
        tell: Says a registered event.
        clock: Of this box; None: the machine's.
        patience: How long it waits for the broker and the fleet; None: as long as in a street.
    """

    def __init__(
        self,
        start: MouthStart,
        control: ControlEnd,
        link: socket.socket,
        tell: Tell,
        *,
        clock: Clock | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._settings: MouthSettings = settings_of(start)
        self._control = control
        self._link = link
        self._tell = tell
        self._clock: Clock = clock or SystemClock()
        self._patience = patience
        budgets = self._settings.budgets
        self._allowances = Allowances(budgets, others_budget(budgets.values()), self._clock)
        self._reopened = asyncio.Event()
        self._is_idle = True
        self._meter = Meter()
        self._egress_due_s = self._clock.elapsed_s()
        self._epoch = -1
        self._fetcher: Fetcher | None = None
        self._downlink: Downlink | None = None
        self._doors: tuple[str, ...] = ()
        self._renewal: Renewal | None = None

    async def run(self) -> int:
        """Work until box says stop; return the exit code.

        Raises:
            ControlClosedError: Box is gone.
            OutboxDamagedError: The file broke while in use; the next start sets it aside.
        """
        try:
            self._shelf = await self._opened()
        except OutboxNewerError:
            return self._refuse(RefusedReason.OUTBOX_NEWER)
        except DiskRefusedError:
            return self._refuse(RefusedReason.DISK)
        try:
            await self._begin()
            async with asyncio.TaskGroup() as tasks:
                for name, work in (
                    ("intake", self._take_in()),
                    ("uplink", self._uplink.run()),
                    ("orders", self._obey()),
                    ("beat", self._beat()),
                    ("expire", self._expire()),
                    *(() if self._downlink is None else (("downlink", self._downlink.run()),)),
                    *(("gateway", one.run()) for one in self._gateways()),
                    *(() if self._renewal is None else (("renewal", self._renewal.run()),)),
                ):
                    tasks.create_task(work, name=f"mouth.{name}")
        except* _Stopped:
            await self._end()
        finally:
            await self._shelf.close()
        return 0

    async def _opened(self) -> Shelf:
        """Open the outbox, as soon as its disk lets us.

        Raises:
            DiskRefusedError: It did not for as long as box said.
            OutboxNewerError: A newer agent made it.
        """
        settings, is_told = self._settings, False
        until_s = self._clock.elapsed_s() + settings.disk_within_s
        while True:
            try:
                return await Shelf.open(settings.outbox, settings.bounds, self._clock)
            except DiskRefusedError:
                if self._clock.elapsed_s() >= until_s:
                    raise
            if not is_told:
                self._tell("outbox.awaited")
                is_told = True
            await asyncio.sleep(DISK_AGAIN_S)

    def _refuse(self, reason: RefusedReason) -> int:
        self._tell("mouth.refused", reason=reason.value)
        self._control.say(Refused(reason, None))
        return EXIT_REFUSED

    async def _begin(self) -> None:
        settings = self._settings
        self._build_downlink()
        self._uplink = Uplink(
            settings.broker,
            self._shelf,
            controller=settings.controller,
            box=settings.box,
            tell=self._tell,
            lost=lambda: self._say(Resolve(BROKER_NAME)),
            clock=self._clock,
            patience=self._patience,
            meter=self._meter,
            papers=None if settings.papers is None else Papers(settings.papers, self._clock),
            copied=lambda copied: self._say(AuditCopied(copied.log, copied.upto)),
            told=None if self._downlink is None else self._downlink.hear,
        )
        self._uplink.lead_to(settings.addresses)
        self._build_renewal()
        birth = Birth(self._clock.now_ms() // 1000, settings.agent, CONTRACT_REVISION, settings.profile)
        await self._until_the_disk_lets(lambda outbox: outbox.say(birth))
        outbox_damaged, started_ms, rows = await self._shelf.do(
            lambda outbox: (outbox.damaged_before, outbox.started_ms, outbox.left())
        )
        if outbox_damaged:
            self._tell("outbox.damaged")
        for number, camera in (await self._shelf.do(Outbox.contexts)).items():
            self._allowances.learn(number, camera)
        await self._open_link()
        self._tell("mouth.started", started_ms=started_ms, rows=rows)
        self._say(Ready())

    def _build_downlink(self) -> None:
        settings = self._settings
        if settings.door is None:
            return
        self._fetcher = Fetcher(settings.door, tls=settings.door_tls)
        self._fetcher.lead_to(settings.doors)
        self._downlink = Downlink(
            self._fetcher,
            Fetched(settings.fetched),
            box=settings.box,
            announce=self._announce,
            alarm=self._alarm,
            lost=lambda: self._say(Resolve(FLEET_NAME)),
            tell=self._tell,
            clock=self._clock,
        )

    def _build_renewal(self) -> None:
        identity = self._settings.identity
        if identity is None:
            return
        self._doors = identity.addresses
        self._renewal = Renewal(
            Identity(self._settings.outbox.parent, self._settings.box),
            identity.ca,
            (identity.host, identity.port),
            addresses=lambda: self._doors,
            changed=self._uplink.change_over,
            lost=lambda: self._say(Resolve(FLEET_NAME)),
            tell=self._tell,
            clock=self._clock,
        )

    def _announce(self, document: DocumentReady) -> None:
        """Tell the eye of a document; what finds no room, or no eye, is said again within the minute."""
        with contextlib.suppress(LinkCutError):  # whoever takes in from the link finds it cut as well
            self._end_of_link.announce(document)

    async def _alarm(self, alarm: FetchAlarm) -> None:
        await self._until_the_disk_lets(lambda outbox: outbox.say(alarm))
        self._uplink.wake()

    def _gateways(self) -> tuple[Gateway, ...]:
        """Return what hears the sensors beside the box, if there are any."""
        settings = self._settings
        if settings.gateway is None:
            return ()
        heard = Gateway(
            settings.gateway,
            settings.box,
            settings.sensors,
            shelf=self._shelf,
            tell=self._tell,
            wake=self._uplink.wake,
            clock=self._clock,
        )
        return (heard,)

    async def _open_link(self) -> None:
        """Listen on the link from what is on disk, and tell the eye from where to go on."""
        committed = await self._shelf.do(Outbox.committed)
        self._end_of_link = MouthEnd(self._link, self._allowances, committed)
        self._end_of_link.acknowledge(committed)
        self._epoch = -1

    async def _take_in(self) -> None:
        """Take what the eye says to the disk, for ever; it is acknowledged only then."""
        while True:
            await _readable(self._link)
            self._is_idle = False
            batch, cut = self._read_turn()
            if batch:
                await self._until_the_disk_lets(partial(Outbox.store, carried=batch))
                self._uplink.wake()
                self._greet(batch[-1].epoch)
            if cut is None:
                self._end_of_link.acknowledge(await self._shelf.do(Outbox.committed))
            else:
                await self._stay_cut(cut)
            self._is_idle = True

    def _greet(self, epoch: int) -> None:
        """Tell an eye that was not there before of every document."""
        if epoch != self._epoch and self._downlink is not None:
            self._downlink.announce_all()
        self._epoch = epoch

    def _read_turn(self) -> tuple[list[Carried], CutReason | None]:
        batch: list[Carried] = []
        taken_before, cut = self._end_of_link.taken_bytes, None
        try:
            while len(batch) < PACKETS_A_TURN and (carried := self._end_of_link.receive()) is not None:
                batch.append(carried)
        except LinkCutError as error:
            cut = error.reason
        self._meter.link_records += len(batch)
        self._meter.link_bytes += self._end_of_link.taken_bytes - taken_before
        return batch, cut

    async def _stay_cut(self, reason: CutReason) -> None:
        """Throw away what comes until box has put another eye there."""
        self._tell("link.cut", reason=reason.value)
        self._say(LinkCut(reason))
        self._reopened.clear()
        while not self._reopened.is_set():
            discard(self._link)
            await asyncio.sleep(CUT_LOOK_EVERY_S)
        discard(self._link)
        await self._open_link()
        self._tell("link.reopened")

    async def _until_the_disk_lets(self, work: Callable[[Outbox], object]) -> None:
        """Do ``work`` on the outbox, again and again while the disk refuses; meanwhile nothing is acknowledged."""
        retry_s = 0.0
        while True:
            try:
                await self._shelf.do(work)
            except DiskRefusedError:
                if not retry_s:
                    self._tell("outbox.disk_refused")
                self._say(Beat())  # it may be before the first one, and waiting for room is no silence
                retry_s = min(DISK_RETRY_MAX_S, retry_s * 2 or DISK_RETRY_S)
                await asyncio.sleep(retry_s)
            else:
                if retry_s:
                    self._tell("outbox.disk_accepted")
                return

    async def _obey(self) -> None:
        """Do what box says."""
        decoder = to_mouth()
        while True:
            await _readable(self._control)
            while (order := self._control.hear(decoder)) is not None:
                match order:
                    case Stop(within_ms=within_ms):
                        await self._drain(within_ms / 1000)
                    case Addresses(name=name, addresses=addresses) if name == BROKER_NAME:
                        self._uplink.lead_to(addresses)
                    case Addresses(name=name, addresses=addresses) if name == FLEET_NAME:
                        self._doors = addresses
                        if self._fetcher is not None:
                            self._fetcher.lead_to(addresses)
                    case LinkReopened():
                        self._reopened.set()
                    case _:
                        pass  # for the eye, or a second start: nothing to do

    async def _drain(self, within_s: float) -> None:
        """Wait until the fleet has acknowledged everything, or the time is over.

        Raises:
            _Stopped: Always, at the end.
        """
        ends_at_s = self._clock.elapsed_s() + within_s
        while self._clock.elapsed_s() < ends_at_s:
            if self._is_idle and not await self._shelf.do(Outbox.left):
                break
            await asyncio.sleep(DRAIN_LOOK_EVERY_S)
        raise _Stopped

    async def _beat(self) -> None:
        """Say that the loop turns, and how far the numbers have come."""
        while True:
            self._say(Beat())
            await self._say_numbers()
            if self._clock.elapsed_s() >= self._egress_due_s:
                self._egress_due_s = self._clock.elapsed_s() + EGRESS_EVERY_S
                self._say_egress()
            await asyncio.sleep(BEAT_EVERY_S)

    async def _say_numbers(self) -> int:
        numbers, left = await self._shelf.do(lambda outbox: (outbox.last_numbers(), outbox.left()))
        self._say(Numbered(dict(sorted(numbers.items())[-STREAMS_TOLD:]), left))
        return left

    def _say_egress(self) -> None:
        meter = self._meter
        sent = (meter.messages, meter.message_bytes, meter.refused)
        self._say(Egressed(*sent, meter.link_records, meter.link_bytes, meter.rejects))

    async def _expire(self) -> None:
        """Hold the outbox to its bound of age, and say what any bound has cost."""
        told = (0, 0)
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            await self._until_the_disk_lets(Outbox.expire)
            coarsened, dropped = await self._shelf.do(lambda outbox: (outbox.coarsened, outbox.dropped))
            if coarsened > told[0]:
                self._tell("outbox.records_coarsened", records=coarsened - told[0])
            if dropped > told[1]:
                self._tell("outbox.records_dropped", records=dropped - told[1])
            told = (coarsened, dropped)

    async def _end(self) -> None:
        left = await self._say_numbers()
        self._say_egress()
        self._tell("mouth.stopped", left=left)
        self._say(Ended(left))

    def _say(self, message: FromChild) -> None:
        self._control.say(message)  # with no room, box is not reading, and has worse to worry about


async def _readable(end: socket.socket | ControlEnd) -> None:
    """Wait until there is something to read."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        loop.remove_reader(end.fileno())
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(end.fileno(), wake)
    try:
        await ready
    finally:
        loop.remove_reader(end.fileno())
