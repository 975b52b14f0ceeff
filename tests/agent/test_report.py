"""What a box measures of itself, what it hands to the mouth, and the report of a real box under a signed policy."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from audit_builders import AT_MS, BOX_KEY, ORIGIN, chained, happenings, write_log
from box_builders import HandClock
from city_hall import CityHall
from fleet_double import Ledger, fleet_at
from journeys.town import film_of, scenario_of, site_of
from model_builders import built_sprite
from veilleur_agent.audit import AuditLog
from veilleur_agent.audit_view import look_into
from veilleur_agent.box import Box
from veilleur_agent.cli import app
from veilleur_agent.confine.process import lacking_here
from veilleur_agent.confine.trials import TRIAL_OF
from veilleur_agent.courier import PARTS_MAX, Courier, part_of
from veilleur_agent.eye.redact import CHECKED_EVERY
from veilleur_agent.eye.targets import DILATION, PLATE_SHARE
from veilleur_agent.mouth.papers import ANSWER_WITHIN_S, Papers
from veilleur_agent.offers import put_offer
from veilleur_agent.plan import Plan
from veilleur_agent.preflight import plan_of
from veilleur_agent.report_facts import REDACTION
from veilleur_agent.report_measure import Private, models_in, open_files, retention_in
from veilleur_agent.report_view import NoReportError, newest_in
from veilleur_agent.reporter import ReportPace
from veilleur_agent.settings import settings_of
from veilleur_contracts.audit import ClockJumped, ReportMade
from veilleur_contracts.audit_copy import Copied, decode_part, log_id_of
from veilleur_contracts.audit_follow import Head, follow
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.report import Outcome, Report, Why, open_report
from veilleur_contracts.report_checks import judged
from veilleur_contracts.report_words import TRIALS
from veilleur_contracts.topics import Up
from veilleur_simulator.broker import Broker, broker_in
from waiting import until

WITHIN_S = 60.0


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_sprite(tmp_path_factory.mktemp("models")).folder


@pytest.fixture
def opened(tmp_path) -> Iterator[Callable[..., AuditLog]]:
    """Open a log with so many entries in it; written at once, as a disk takes its time for each."""
    logs = []

    def open_log(count: int, clock: HandClock | None = None) -> AuditLog:
        write_log(tmp_path / "audit", chained(happenings(count)), (count,))
        logs.append(AuditLog.open(tmp_path / "audit", ORIGIN, BOX_KEY, clock or HandClock()))
        return logs[-1]

    yield open_log
    for log in logs:
        log.close()


@pytest.fixture
def handed(tmp_path) -> Path:
    folder = tmp_path / "handed"
    folder.mkdir()
    return folder


def parts_in(folder: Path) -> list[tuple[int, int]]:
    parts = [decode_part(path.read_bytes()) for path in sorted(folder.glob("*.part"))]
    return [(part.first, part.upto) for part in parts]


def test_a_model_is_measured_to_the_byte_and_one_without_a_card_counts_as_able_to_identify(models, tmp_path) -> None:
    sprite = models_in(models, "sprite")[0]
    assert sprite.in_use
    assert (
        sprite.sha256
        == sprite.declared_sha256
        == hashlib.sha256((models / "sprite" / "model.bin").read_bytes()).hexdigest()
    )
    assert not sprite.biometric_capable
    (tmp_path / "stranger").mkdir()
    (tmp_path / "stranger" / "model.bin").write_bytes(b"weights")
    (tmp_path / "empty").mkdir()
    (stranger,) = models_in(tmp_path, "sprite")
    assert (stranger.name, stranger.biometric_capable, stranger.in_use, stranger.declared_sha256) == (
        "stranger",
        True,
        False,
        None,
    )
    assert models_in(tmp_path / "nowhere", "sprite") == ()


def test_kept_pictures_are_found_by_looking(tmp_path) -> None:
    now_ms = SystemClock().now_ms()
    nothing = retention_in(tmp_path / "clips", tmp_path / "freezes", now_ms)
    assert (nothing.has_store, nothing.items, nothing.oldest_ms) == (False, 0, None)
    (tmp_path / "clips" / "days").mkdir(parents=True)
    (tmp_path / "clips" / "days" / "avenue.2026-05-01.stills").write_bytes(b"x" * 30)
    found = retention_in(tmp_path / "clips", tmp_path / "freezes", now_ms)
    assert (found.has_store, found.items, found.size_bytes, found.frozen) == (True, 1, 30, 0)


def test_private_files_that_others_may_read_are_named_by_kind_alone(tmp_path) -> None:
    (tmp_path / "secrets.toml").write_text("x", encoding="utf-8")
    (tmp_path / "secrets.toml").chmod(0o640)
    (tmp_path / "closed").write_text("x", encoding="utf-8")
    (tmp_path / "closed").chmod(0o600)
    privates = [Private(name, tmp_path / name) for name in ("closed", "missing", "secrets.toml")]
    assert open_files(tuple(privates)) == ("secrets.toml",)


def test_what_the_report_says_of_redaction_is_what_redacts() -> None:
    assert REDACTION.checked_every == CHECKED_EVERY
    assert REDACTION.vehicle_percent == round(100 * PLATE_SHARE)
    assert REDACTION.dilation_percent == round(100 * DILATION)


def test_every_trial_has_words_in_both_languages() -> None:
    assert {number: en for number, (_, en) in TRIALS.items()} == {number: one.what for number, one in TRIAL_OF.items()}


def test_the_audit_is_handed_over_in_signed_parts_and_taken_back_when_the_fleet_has_it(
    opened, handed, monkeypatch
) -> None:
    monkeypatch.setattr("veilleur_agent.courier.PART_ENTRIES_MAX", 128)
    log = opened(200)
    courier, log_id = Courier(handed), log_id_of(str(log.verifier))
    courier.hand_audit(log)
    assert parts_in(handed) == [(168, 200)], "what asks the fleet where it stands"
    courier.note_copied(log, log_id, 0)
    assert parts_in(handed) == [(0, 128), (128, 200)]
    log.append(ClockJumped(1))
    courier.hand_audit(log)
    courier.hand_audit(log)
    assert parts_in(handed) == [(0, 128), (128, 200), (200, 201)]
    courier.note_copied(log, log_id, 128)
    assert parts_in(handed) == [(128, 200), (200, 201)]
    assert Courier(handed)._held(log_id) == 128, "a box that starts again goes on from there"
    courier.note_copied(log, "0" * 16, 201)
    courier.note_copied(log, log_id, 202)
    assert parts_in(handed) == [(128, 200), (200, 201)], "what is not of this log changes nothing"
    courier.note_copied(log, log_id, 100)
    assert parts_in(handed) == [(100, 201)], "a fleet that lost its copy gets it again"
    courier.note_copied(log, log_id, 201)
    assert parts_in(handed) == []


def test_a_long_absence_hands_over_a_bounded_number_of_parts(opened, handed, monkeypatch) -> None:
    monkeypatch.setattr("veilleur_agent.courier.PART_ENTRIES_MAX", 2)
    log = opened(3 * PARTS_MAX)
    courier = Courier(handed)
    courier.note_copied(log, log_id_of(str(log.verifier)), 0)
    assert len(parts_in(handed)) == PARTS_MAX
    courier.note_copied(log, log_id_of(str(log.verifier)), 2 * PARTS_MAX)
    assert parts_in(handed)[-1] == (3 * PARTS_MAX - 2, 3 * PARTS_MAX)


def test_a_box_that_lost_its_papers_is_not_taken_for_one_that_was_put_back(opened, handed, monkeypatch) -> None:
    log = opened(200)
    copied = follow(Head(), part_of(log, 0), held=lambda *_: (), known=lambda _: None)
    assert copied is not None
    for _ in range(3):
        log.append(ClockJumped(1))
    monkeypatch.setattr("veilleur_agent.courier.PART_ENTRIES_MAX", 140)
    Courier(handed).hand_audit(log)
    head, roots = copied.head, {200: copied.signed.root}
    for path in sorted(handed.glob("*.part")):
        part = decode_part(path.read_bytes())
        again = follow(head, part, held=lambda first, upto: copied.fresh[first:upto], known=roots.get)
        assert again is not None
        head = again.head
    assert head.size == 203


def test_a_part_begins_where_the_box_has_pruned(opened) -> None:
    log = opened(600, HandClock(AT_MS + 400 * 86_400_000))
    log.prune()
    part = part_of(log, 0)
    assert (part.first, len(part.before)) == (512, 1)


def test_papers_are_told_once_each_and_a_part_again_when_nobody_answers(handed) -> None:
    clock = HandClock()
    papers = Papers(handed, clock)
    assert papers.next() is None
    (handed / "report.dsse").write_bytes(b"report")
    (handed / "audit-000000000000-000000000009.part").write_bytes(b"first")
    (handed / "audit-000000000009-000000000012.part").write_bytes(b"second")
    told = [papers.next(), papers.next(), papers.next()]
    assert [(one.channel, one.payload, one.retain) for one in told if one] == [
        (Up.PRIVACY, b"report", True),
        (Up.AUDIT, b"first", False),
    ]
    clock.advance(ANSWER_WITHIN_S)
    assert papers.next() == told[1]
    (handed / "audit-000000000000-000000000009.part").unlink()
    papers.answered(Copied("0" * 16, 9))
    assert papers.next().payload == b"second"
    papers.restart()
    assert [papers.next().payload, papers.next().payload] == [b"report", b"second"]
    (handed / "report.dsse").write_bytes(b"x" * 200_000)
    assert papers.next() is None, "what is longer than any report is not told"


@pytest.mark.parametrize("state", ["missing", "empty"])
def test_where_no_box_has_run_there_is_no_report(tmp_path, state) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoReportError, match="give the --state of a box that has run"):
        newest_in(tmp_path / state)


class Watched:
    """A box that runs, and the papers its fleet gets."""

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        self.plan, self.ledger = plan, ledger
        self.told: list[str] = []
        self.box = Box(plan, lambda event, **_: self.told.append(event), SystemClock())

    def reports(self) -> list[Report]:
        return [open_report(data) for data in self.ledger.papers[Up.PRIVACY]]

    async def until(self, condition: Callable[[], object]) -> None:
        await until(condition, WITHIN_S)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with broker_in(tmp_path / "broker") as one:
        yield one


@pytest.mark.journey
@pytest.mark.timeout(180)
async def test_a_real_box_reports_what_it_may_what_it_does_and_what_it_measured(
    tmp_path, tmp_path_factory, models, broker
) -> None:
    hall = CityHall(tmp_path_factory.mktemp("hall"))
    film = film_of(scenario_of("street-busy"), tmp_path)
    (tmp_path / "site.toml").write_text(site_of(str(film), loop=True), encoding="utf-8")
    settings = settings_of(
        state=tmp_path / "state",
        models=models,
        model="sprite",
        policy=str(hall.policy(1)),
        root=hall.root,
        broker=broker.url,
        trust_clock=True,
        allow_unconfined=bool(lacking_here()),
    )
    one = Watched(plan_of(tmp_path / "site.toml", settings), Ledger())
    one.box._reporter._pace = ReportPace(settle_s=0.2, spacing_s=0.5)
    async with fleet_at(broker.host, broker.port, one.ledger):
        async with running(one):
            await one.until(lambda: one.reports() and one.ledger.papers[Up.AUDIT])
            put_offer(one.plan.offers, hall.stop().read_bytes())
            await one.until(lambda: any(report.law and report.law.stops for report in one.reports()))
        boot, stopped = one.reports()[0], one.reports()[-1]
    check_boot(boot)
    assert stopped.why is Why.CHANGE
    assert [camera.said.profile for camera in stopped.cameras if camera.said] == ["stopped"]
    assert stopped.egress.sent_bytes > 0
    check_audit(one)
    check_commands(one, tmp_path)


@asynccontextmanager
async def running(one: Watched):
    task = asyncio.create_task(one.box.run(), name="box")
    try:
        yield
        one.box.stop()
        assert await task == 0
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def check_boot(report: Report) -> None:
    assert (report.why, report.identity.box, report.identity.profile) == (Why.BOOT, "box-1", "signed")
    assert report.law is not None
    assert (report.law.version, report.law.signers) == (1, ("controller", "dpo-ville", "operator"))
    assert report.law.opinions[0].role == "dpo-ville"
    (camera,) = report.cameras
    assert (camera.id, camera.source, camera.window_s, camera.permitted.profile) == ("avenue", "file", 1200, "signed")
    assert {facts.process.value for facts in report.confinement} == {"eye", "mouth"}
    assert all(len(facts.trials) >= 40 for facts in report.confinement)
    assert report.retention.items == 0
    failed = {one.check.number for one in judged(report) if one.finding.outcome is Outcome.FAIL}
    unconfined = {"P01", "P02", "P03", "P24"}
    assert failed - unconfined == {"P04"}, "in a test, box, eye and mouth are one user; and it says so"


def check_audit(one: Watched) -> None:
    findings, entries = look_into(one.plan.audit, 10_000)
    assert findings.is_whole
    announced = [entry.what.sha256 for entry in entries if isinstance(entry.what, ReportMade)]
    assert len(announced) >= len(one.reports()) > 1
    part = decode_part(one.ledger.papers[Up.AUDIT][0])
    assert [len(part.entries), part.first] == [part.upto, 0]


def check_commands(one: Watched, tmp_path: Path) -> None:
    state = ("--state", str(one.plan.state))
    shown = CliRunner().invoke(app, ["report", *state, "--lang", "fr"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "Rapport de protection des données" in shown.output
    assert "ÉCART" in shown.output
    page = tmp_path / "report.html"
    written = CliRunner().invoke(app, ["report", *state, "--html", str(page)])
    assert written.exit_code == 0, written.output
    assert "Privacy report" in page.read_text(encoding="utf-8")
    raw = CliRunner().invoke(app, ["report", *state, "--json"])
    assert msgspec.json.decode(raw.output, type=Report).identity.box == "box-1"
    forged = one.plan.papers / "report.dsse"
    forged.write_bytes(forged.read_bytes().replace(b'"sig":"', b'"sig":"A', 1))
    refused = CliRunner().invoke(app, ["report", *state])
    assert refused.exception is not None
