"""Report on the box: gather what box knows, measure the rest, judge it, sign it, and hand it to the mouth.

children, eye, mouth ──what changed──▶ Reporter ──at boot, on change, daily──▶ Report
                                          │ signed and noted by the one writer of the audit (clerk's thread)
                                          ▼
                                    handed/report.dsse ─▶ mouth ─▶ fleet
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Final

import msgspec

from veilleur_agent.audit import AuditLog, AuditUnwritableError
from veilleur_agent.clerk import Clerk
from veilleur_agent.confine.report import ConfinementReport
from veilleur_agent.control import AuditCopied, Egressed
from veilleur_agent.courier import Courier
from veilleur_agent.enrolment import pinned_root
from veilleur_agent.events import Tell
from veilleur_agent.freezes import freezes_of
from veilleur_agent.plan import Plan
from veilleur_agent.report_facts import (
    REDACTION,
    camera_of,
    confinement_of,
    destinations_of,
    law_of,
    standing_in,
)
from veilleur_agent.report_measure import Private, models_in, open_files, retention_in
from veilleur_agent.swap import swaps_here
from veilleur_contracts.audit import ClipsExported, ReportMade, decode_entry
from veilleur_contracts.clock import Clock, datetime_of
from veilleur_contracts.envelope import read_envelope
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.policy_document import canonical, document_sha256
from veilleur_contracts.report import (
    AccessFacts,
    AuditFacts,
    EgressFacts,
    Identity,
    Outcome,
    Report,
    Said,
    Why,
    fitted,
)
from veilleur_contracts.report_checks import judged, results_of

PARTS: Final = ("eye", "mouth")
NOTHING: Final = Egressed(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class ReportPace:
    """When a report is due, seconds.

    Attributes:
        settle_s: After something changed, so that what changes together is told together.
        first_within_s: The first one, however little is known by then.
        spacing_s: Between two, at the least.
        daily_s: Between two, at the most.
        again_s: Before another try, where the audit could not be written.
    """

    settle_s: float = 3.0
    first_within_s: float = 60.0
    spacing_s: float = 10.0
    daily_s: float = 86_400.0
    again_s: float = 60.0


@dataclass(slots=True)
class _Heard:
    """What box was told since it started; one value for each child, camera and count."""

    confined: dict[str, ConfinementReport] = field(default_factory=dict)
    ready: set[str] = field(default_factory=set)
    said: dict[str, Said] = field(default_factory=dict)
    sent_before: Egressed = NOTHING
    sent: Egressed = NOTHING
    link_cuts: int = 0
    dropped_bytes: int = 0


class Reporter:
    """Makes the privacy reports of one box.

    Args:
        plan: What the box is.
        clerk: The one writer of the audit.
        tell: Box's log.
        clock: For dates and for waiting.
        known: Where a name leads now.
        is_synced: Whether a time source holds the clock.
        pace: When a report is due.
    """

    def __init__(
        self,
        plan: Plan,
        clerk: Clerk,
        tell: Tell,
        clock: Clock,
        *,
        known: Callable[[str], tuple[str, ...]],
        is_synced: Callable[[], bool],
        pace: ReportPace | None = None,
    ) -> None:
        self._plan = plan
        self._clerk = clerk
        self._tell = tell
        self._clock = clock
        self._known = known
        self._is_synced = is_synced
        self._pace = pace or ReportPace()
        self._courier = Courier(plan.papers)
        self._heard = _Heard()
        self._stirred = asyncio.Event()
        self._started_ms = clock.now_ms()
        self._told: bytes | None = None
        self._copied: AuditCopied | None = None
        self._copy_told = asyncio.Event()

    def confined(self, child: str, report: ConfinementReport) -> None:
        """Take note of what ``child`` measured of its confinement."""
        self._heard.confined[child] = report
        self._stirred.set()

    def is_ready(self, child: str) -> None:
        """Take note that ``child`` works."""
        self._heard.ready.add(child)
        self._stirred.set()

    def egressed(self, sent: Egressed) -> None:
        """Take note of what the mouth has sent since it started."""
        self._heard.sent = sent

    def mouth_ended(self) -> None:
        """Keep what the mouth had sent; the next one counts from zero."""
        self._heard.sent_before = _sum(self._heard.sent_before, self._heard.sent)
        self._heard.sent = NOTHING

    def stir(self) -> None:
        """Something may be otherwise than the last report told."""
        self._stirred.set()

    def heard(self, event: str, values: dict[str, object]) -> None:
        """Take from box's log what a report tells."""
        match event, values:
            case "camera.permissions_changed", {"camera": str(name), "profile": str(profile), "why": str(why)}:
                self._heard.said[name] = Said(profile, why, bool(values["runs"]))
                self._stirred.set()
            case "link.peer_cut", _:
                self._heard.link_cuts += 1
                self._stirred.set()
            case "child.output_dropped", {"bytes": int(size)}:
                self._heard.dropped_bytes += size
                self._stirred.set()

    def copied(self, message: AuditCopied) -> None:
        """Take note of how far the fleet's copy of the audit goes; the newest word counts."""
        self._copied = message
        self._copy_told.set()

    async def keep_handing(self) -> None:
        """Hand over what the fleet's copy of the audit lacks, until cancelled."""
        while True:
            await self._copy_told.wait()
            self._copy_told.clear()
            if self._copied is not None:
                await self._in_clerks_thread(partial(self._note_copied, self._copied))

    async def work(self) -> None:
        """Report at boot, on change and daily, until cancelled."""
        why = Why.BOOT
        await self._until_known()
        while True:
            is_made = await self._make(why)
            due = await self._until_due(self._pace.daily_s if is_made else self._pace.again_s)
            why = due if is_made else why

    async def _until_known(self) -> None:
        """Wait until eye and mouth work and the eye has spoken of each camera, but not for ever."""
        cameras = {camera.id for camera in self._plan.site.camera}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pace.first_within_s):
                while not (self._heard.ready >= set(PARTS) and self._heard.said.keys() >= cameras):
                    self._stirred.clear()
                    await self._stirred.wait()
        self._stirred.clear()

    async def _until_due(self, within_s: float) -> Why:
        began_s = self._clock.elapsed_s()
        try:
            async with asyncio.timeout(within_s):
                await self._stirred.wait()
                left_s = self._pace.spacing_s - (self._clock.elapsed_s() - began_s)
                await asyncio.sleep(max(self._pace.settle_s, left_s))
        except TimeoutError:
            return Why.DAILY
        finally:
            self._stirred.clear()
        return Why.CHANGE

    async def _make(self, why: Why) -> bool:
        """Make a report, unless it would be no news; tell whether all is told."""
        report = fitted(await asyncio.to_thread(self._gathered, why))
        unchanged = _lasting(report)
        if why is Why.CHANGE and unchanged == self._told:
            return True
        if not await self._in_clerks_thread(partial(self._sign, report)):
            return False
        self._told = unchanged
        return True

    async def _in_clerks_thread(self, work: Callable[[AuditLog], None]) -> bool:
        """Do ``work`` on the audit; tell whether it could be; a disk that refuses is told in the log."""
        try:
            await self._clerk.do(work)
        except (AuditUnwritableError, RejectedError, OSError):
            self._tell("report.refused")
            return False
        return True

    def _gathered(self, why: Why) -> Report:
        """Measure and put together; reads files, so not in box's loop."""
        plan, settings, heard = self._plan, self._plan.settings, self._heard
        now_ms = self._clock.now_ms()
        now, site = datetime_of(now_ms), plan.site
        is_signed = plan.profile == "signed"
        standing = standing_in(plan.state / "eye" / "standing", pinned_root(plan.state)) if is_signed else None
        fixed = None if is_signed else plan.permissions
        uids = {"eye": settings.eye_uid or os.geteuid(), "mouth": settings.mouth_uid or os.geteuid()}
        return Report(
            format=1,
            made_ms=now_ms,
            why=why,
            identity=Identity(
                box=site.site.box,
                controller=site.site.controller,
                agent=version("veilleur"),
                profile=plan.profile,
                site_sha256=plan.site_sha256,
                started_ms=self._started_ms,
                key="",
                clock_set=self._is_synced(),
            ),
            law=law_of(standing, now),
            cameras=tuple(
                camera_of(one, site.site.window_s, fixed, standing, now=now, said=heard.said.get(one.id))
                for one in site.camera
            ),
            models=models_in(settings.model_folder.resolve(), settings.model),
            redaction=REDACTION,
            retention=retention_in(plan.clips, freezes_of(plan.state), now_ms),
            egress=self._egress(),
            confinement=confinement_of(heard.confined, uids),
            access=AccessFacts(
                box_uid=os.geteuid(),
                allow_unconfined=settings.allow_unconfined,
                open_files=open_files(_privates_of(plan)),
                exports=0,
                view_served=False,
                swaps_in_clear=len(swaps_here()),
            ),
            audit=AuditFacts(0, "", is_short=False),
        )

    def _egress(self) -> EgressFacts:
        plan, heard = self._plan, self._heard
        sent = _sum(heard.sent_before, heard.sent)
        return EgressFacts(
            since_ms=self._started_ms,
            destinations=destinations_of(plan, self._known),
            camera_ports=plan.eye_reach().ports,
            sent_messages=sent.messages,
            sent_bytes=sent.message_bytes,
            refused_messages=sent.refused,
            link_records=sent.link_records,
            link_bytes=sent.link_bytes,
            link_bytes_per_day_max=plan.leak_bytes_per_day(),
            link_cuts=heard.link_cuts,
            rejects=sent.rejects,
            output_dropped_bytes=heard.dropped_bytes,
        )

    def _sign(self, report: Report, log: AuditLog) -> None:
        """Judge, sign and note a report, and hand it over with the audit up to it."""
        note = log.checkpoint()
        whole = msgspec.structs.replace(
            report,
            identity=msgspec.structs.replace(report.identity, key=str(log.verifier)),
            access=msgspec.structs.replace(report.access, exports=_exports_in(log)),
            audit=AuditFacts(log.size, note.decode("utf-8"), log.is_short),
        )
        whole = msgspec.structs.replace(whole, checks=results_of(judged(whole)))
        envelope = log.signed(whole)
        log.append(ReportMade(document_sha256(read_envelope(envelope).content())))
        log.checkpoint()
        self._courier.hand_report(envelope)
        self._courier.hand_audit(log)
        failed = sum(one.outcome is Outcome.FAIL for one in whole.checks)
        self._tell("report.made", why=whole.why.value, checks=len(whole.checks), failed=failed)

    def _note_copied(self, message: AuditCopied, log: AuditLog) -> None:
        self._courier.note_copied(log, message.log, message.upto)


def _privates_of(plan: Plan) -> tuple[Private, ...]:
    """Return what nobody else on the machine may open."""
    secrets = plan.settings.secrets
    return (
        Private("audit-key", plan.state / "audit-key.pem"),
        Private("audit", plan.audit),
        Private("eye", plan.state / "eye"),
        Private("mouth", plan.state / "mouth"),
        Private("clips", plan.clips),
        *(() if secrets is None else (Private("secrets", secrets),)),
    )


def _exports_in(log: AuditLog) -> int:
    """Return how often somebody took clips out, as far back as the audit is kept."""
    return sum(
        isinstance(decode_entry(raw).what, ClipsExported)
        for number in log.tiles.bundles()
        for raw in log.tiles.bundle(number)[0]
    )


def _sum(first: Egressed, second: Egressed) -> Egressed:
    pairs = zip(msgspec.structs.astuple(first), msgspec.structs.astuple(second), strict=True)
    return Egressed(*(one + other for one, other in pairs))


def _lasting(report: Report) -> bytes:
    """Return what of a report would be news, were it otherwise: all but dates, amounts and the audit itself."""
    egress = report.egress
    counts = dict.fromkeys(("sent_messages", "sent_bytes", "link_records", "link_bytes", "rejects"), 0)
    return canonical(
        msgspec.structs.replace(
            report,
            made_ms=0,
            why=Why.DAILY,
            retention=msgspec.structs.replace(report.retention, items=0, size_bytes=0, oldest_ms=None),
            egress=msgspec.structs.replace(egress, **counts, refused_messages=0),
        )
    )
