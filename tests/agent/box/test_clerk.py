"""The clerk of a box: what it is told stands in the audit, and what keeps it from writing makes everything strict."""

import asyncio
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from box_builders import HandClock, files_no_longer_than
from model_builders import built_sprite
from veilleur_agent.audit import CHECKPOINT_EVERY_S, RESERVE_BYTES, AuditLog
from veilleur_agent.audit_view import NoAuditError, look_into, said_of
from veilleur_agent.clerk import WAITING_MAX, Clerk, entry_of, noting
from veilleur_agent.plan import Plan
from veilleur_agent.preflight import plan_of
from veilleur_agent.reporter import Reporter, ReportPace
from veilleur_agent.settings import settings_of
from veilleur_contracts.audit import (
    ClipsExported,
    ClockJumped,
    DiskFull,
    PeerCutOff,
    Process,
    ProcessEnded,
    ProcessStarted,
    What,
    origin_of,
)
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.report import Why, open_report
from veilleur_contracts.tiles import ENTRIES, tile_path
from waiting import until

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
WITHIN_S = 20.0


class Desk:
    """A clerk, its log, and what it said to box."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "audit"
        self.folder.mkdir()
        self.clock = HandClock()
        self.told: list[str] = []
        self.tightened: list[bool] = []
        self.clerk = Clerk(
            self.folder,
            lambda: AuditLog.open_or_begin_again(self.folder, origin_of("ville", "box-1"), KEY, self.clock),
            tell=self.tell,
            tighten=self.tightened.append,
            clock=self.clock,
            is_synced=lambda: True,
        )

    def tell(self, event: str, **_: object) -> None:
        self.told.append(event)

    def written(self) -> list[What]:
        findings, entries = look_into(self.folder, 10_000)
        assert findings.is_whole
        return [entry.what for entry in entries]

    async def until_written(self, count: int) -> None:
        await until(lambda: len(self.written()) >= count, WITHIN_S)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "clip.mp4").write_bytes(b"a clip")
    card = built_sprite(tmp_path / "models").folder
    site = tmp_path / "site.toml"
    site.write_text(
        f'[site]\nbox = "box-1"\ncontroller = "ville"\n[[camera]]\nid = "gare"\ninsee = "30189"\n'
        f'source = "{tmp_path / "clip.mp4"}"\n',
        encoding="utf-8",
    )
    return plan_of(site, settings_of(state=tmp_path / "state", models=card, model="sprite", policy="bench"))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def test_what_it_is_told_stands_in_the_audit_in_order_and_signed_at_the_end(desk: Desk) -> None:
    desk.clerk.note(ClockJumped(1))
    await desk.clerk.begin()
    task = asyncio.create_task(desk.clerk.work(), name="clerk")
    for by_s in (2, 3, 4):
        desk.clerk.note(ClockJumped(by_s))
    await desk.until_written(4)
    desk.clerk.note(ClockJumped(5))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await desk.clerk.close()
    assert desk.written() == [ClockJumped(by_s) for by_s in range(1, 6)]
    assert look_into(desk.folder, 1)[0].signed_size == 5
    assert desk.tightened == []


async def test_it_signs_the_head_every_hour(desk: Desk) -> None:
    desk.clerk.note(ClockJumped(1))
    await desk.clerk.begin()
    assert look_into(desk.folder, 1)[0].signed_size == 0
    desk.clock.advance(CHECKPOINT_EVERY_S + 1)
    desk.clerk.note(ClockJumped(2))
    await desk.clerk._turn()
    assert look_into(desk.folder, 1)[0].signed_size == 2
    await desk.clerk.close()


async def test_a_full_disk_makes_everything_strict_until_there_is_room_again(desk: Desk) -> None:
    for by_s in range(60):
        desk.clerk.note(ClockJumped(by_s))
    await desk.clerk.begin()
    room = tile_path(desk.folder, ENTRIES, 0).stat().st_size + 40
    with files_no_longer_than(room):
        desk.clerk.note(ClockJumped(100))
        await desk.clerk._turn()
    assert (desk.told, desk.tightened) == (["audit.refused"], [True])
    await desk.clerk._turn()
    assert (desk.told, desk.tightened) == (["audit.refused", "audit.accepted"], [True, False])
    await desk.clerk.close()
    assert desk.written()[60] == DiskFull(1)


async def test_a_log_that_cannot_be_opened_is_tried_again_and_nothing_is_forgotten(desk: Desk) -> None:
    (desk.folder / "tile").write_bytes(b"")
    desk.folder.chmod(0o700)
    (desk.folder / "key").mkdir()
    desk.clerk.note(ClockJumped(1))
    await desk.clerk.begin()
    assert desk.tightened == [True]
    (desk.folder / "key").rmdir()
    (desk.folder / "tile").unlink()
    desk.clerk.note(ClockJumped(2))
    await desk.clerk._turn()
    assert desk.tightened == [True, False]
    await desk.clerk.close()
    assert desk.written() == [ClockJumped(1), ClockJumped(2)]


async def test_more_than_can_wait_is_counted_as_lost(desk: Desk) -> None:
    for by_s in range(WAITING_MAX + 7):
        desk.clerk.note(ClockJumped(by_s))
    assert len(desk.clerk._waiting) == WAITING_MAX
    desk.clerk._waiting[:] = desk.clerk._waiting[:3]
    await desk.clerk.begin()
    await desk.clerk.close()
    assert desk.written()[-1] == DiskFull(7)


EXPORTED = ClipsExported("gare", date(2026, 5, 1), "A. Roux", "opj", "26/114")


async def test_an_errand_that_cannot_be_written_is_refused_each_time_and_left_behind_by_none(desk: Desk) -> None:
    (desk.folder / "key").mkdir()
    assert [await desk.clerk.write(EXPORTED) for _ in range(3)] == [False] * 3
    assert desk.tightened == [True]
    (desk.folder / "key").rmdir()
    assert await desk.clerk.write(EXPORTED)
    await desk.clerk.close()
    assert desk.written().count(EXPORTED) == 1, "what a command was told was not done is in no audit"


async def test_an_errand_behind_more_than_can_wait_is_written_and_not_only_said_to_be(desk: Desk, monkeypatch) -> None:
    monkeypatch.setattr("veilleur_agent.clerk.WAITING_MAX", 8)
    for by_s in range(8):
        desk.clerk.note(ClockJumped(by_s))
    assert await desk.clerk.write(EXPORTED)
    await desk.clerk.close()
    assert EXPORTED in desk.written()


async def test_an_errand_that_spent_the_reserve_stands_in_the_audit_and_is_written_once(desk: Desk) -> None:
    await desk.clerk.begin()
    assert desk.clerk._log is not None
    desk.clerk._log._is_short = True
    (desk.folder / ".reserve").unlink()
    with files_no_longer_than(RESERVE_BYTES - 1):  # the entry fits, the reserve does not
        assert await desk.clerk.write(EXPORTED)
    await desk.clerk.close()
    assert desk.written().count(EXPORTED) == 1


async def test_a_report_that_could_not_be_written_is_made_as_soon_as_there_is_room(desk: Desk, plan) -> None:
    (desk.folder / "key").mkdir()
    pace = ReportPace(settle_s=0.0, first_within_s=0.01, spacing_s=0.0, again_s=0.05)
    reporter = Reporter(
        plan, desk.clerk, desk.tell, SystemClock(), known=lambda _: (), is_synced=lambda: True, pace=pace
    )
    task = asyncio.create_task(reporter.work(), name="report")
    await until(lambda: desk.told.count("report.refused") >= 2, WITHIN_S)
    (desk.folder / "key").rmdir()
    await until(lambda: "report.made" in desk.told, WITHIN_S)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await desk.clerk.close()
    assert open_report((plan.papers / "report.dsse").read_bytes()).why is Why.BOOT


@pytest.mark.parametrize(
    ("event", "values", "what"),
    [
        pytest.param("child.started", {"child": "eye", "pid": 7}, ProcessStarted(Process.EYE), id="started"),
        pytest.param(
            "child.ended", {"child": "mouth", "code": -9, "again_in_ms": 5}, ProcessEnded(Process.MOUTH, -9), id="ended"
        ),
        pytest.param(
            "link.peer_cut", {"child": "eye", "reason": "budget"}, PeerCutOff(Process.EYE, "budget"), id="cut-off"
        ),
        pytest.param("child.ready", {"child": "eye"}, None, id="nothing-to-ask-about"),
    ],
)
def test_what_the_audit_says_of_an_event(event, values, what) -> None:
    noted: list[What] = []
    told: list[str] = []
    noting(lambda name, **_: told.append(name), noted.append)(event, **values)
    assert entry_of(event, values) == what
    assert (noted, told) == ([] if what is None else [what], [event])


def test_an_entry_is_shown_in_a_few_words(desk: Desk) -> None:
    asyncio.run(written_one(desk))
    (entry,) = look_into(desk.folder, 1)[1]
    assert said_of(entry) == ("clock-jumped", "by_s 1")


async def written_one(desk: Desk) -> None:
    desk.clerk.note(ClockJumped(1))
    await desk.clerk.begin()
    await desk.clerk.close()


def test_a_folder_without_an_audit_is_refused_with_a_remedy(tmp_path) -> None:
    with pytest.raises(NoAuditError, match="--state"):
        look_into(tmp_path, 5)
