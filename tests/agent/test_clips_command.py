"""A person on the spot lists, exports, freezes and releases; every time the audit says so first, or nothing is done."""

import os
from datetime import date, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner, Result

from clip_builders import JPEG, a_reckoning
from veilleur_agent.audit import AuditLog
from veilleur_agent.audit_view import look_into
from veilleur_agent.cli import app
from veilleur_agent.clip_store import ClipStore
from veilleur_agent.errands import NotAuditedError, errands_in, errands_of, write_down
from veilleur_agent.eye.retention import DAY_MS
from veilleur_agent.freezes import FREEZES_MAX, Freeze, freezes_of, read_freezes
from veilleur_agent.plan import clips_of
from veilleur_agent.preflight import lock_state
from veilleur_contracts.audit import ClipsExported, ClipsFrozen, ClipsReleased, What
from veilleur_contracts.clock import SystemClock, datetime_of
from veilleur_contracts.errors import RejectedError

NOW_MS = SystemClock().now_ms()
TODAY_MS = NOW_MS - NOW_MS % DAY_MS
DAY = datetime_of(TODAY_MS - DAY_MS).date()
EIGHT_MS = TODAY_MS - DAY_MS + 8 * 3_600_000
SITE = """
[site]
box = "box-1"
controller = "ville"

[[camera]]
id = "avenue"
insee = "30189"
source = "rtsp://10.0.0.7/main"
"""
WHO = ("--who", "A. Roux", "--role", "opj", "--why", "réquisition 26/114")
ORDER = ("--reference", "PR Nîmes 26/1234", "--person", "A. Roux", "--person", "B. Blanc")


@pytest.fixture
def box(tmp_path) -> Path:
    """The state folder of a box that has run, with three stills of yesterday morning."""
    state = tmp_path / "state"
    for name in ("documents", "audit", "errands"):
        (state / name).mkdir(parents=True)
    (state / "documents" / "site.toml").write_text(SITE, encoding="utf-8")
    store = ClipStore(clips_of(state), free_min=0)
    store.prepare()
    for minutes in (0, 20, 40):
        at_ms = EIGHT_MS + minutes * 60_000
        store.add("avenue", at_ms, JPEG, a_reckoning(at_ms))
    return state


def run(state: Path, *words: object, typed: str | None = None) -> Result:
    given = ["clips", *map(str, words), "--state", str(state)]
    return CliRunner().invoke(app, given, env={"COLUMNS": "200"}, input=typed)


def audited(state: Path) -> list[What]:
    findings, entries = look_into(state / "audit", 100)
    assert findings.is_whole
    assert findings.signed_size == findings.size
    return [entry.what for entry in entries]


def until(days: int) -> date:
    return datetime_of(TODAY_MS).date() + timedelta(days)


def test_a_list_shows_what_lies_there_and_opens_nothing(box) -> None:
    shown = run(box, "list")
    assert shown.exit_code == 0, shown.output
    assert f"│ avenue │ {DAY}" in shown.output
    assert "│ 3 " in shown.output
    assert "1 days" in shown.output
    assert list((box / "audit").iterdir()) == []


@pytest.mark.parametrize("is_set", [True, False])
def test_a_list_says_when_nothing_is_kept_because_the_clock_is_not_set(box, is_set) -> None:
    ClipStore(clips_of(box), free_min=0).keep_reckoning(msgspec.structs.replace(a_reckoning(NOW_MS), is_set=is_set))
    shown = run(box, "list")
    assert shown.exit_code == 0, shown.output
    assert ("No time source holds the clock of this box, so no still is kept" in shown.output) is not is_set


def test_an_export_is_audited_and_gives_the_hour_asked_for_to_its_owner_alone(box, tmp_path) -> None:
    out = tmp_path / "out"
    done = run(box, "export", "avenue", DAY, "--since", "08:10", "--before", "08:40", "--to", out, *WHO)
    assert done.exit_code == 0, done.output
    (picture,) = out.iterdir()
    assert picture.name == f"avenue_{DAY}T08-20-00-000Z.jpg"
    assert picture.read_bytes() == JPEG
    assert picture.stat().st_mode & 0o777 == 0o600
    assert out.stat().st_mode & 0o777 == 0o700
    assert audited(box) == [ClipsExported("avenue", DAY, "A. Roux", "opj", "réquisition 26/114")]


def test_who_exports_without_saying_why_is_asked(box, tmp_path) -> None:
    typed = "A. Roux\nopj\nréquisition 26/114\n"
    done = run(box, "export", "avenue", DAY, "--to", tmp_path / "out", typed=typed)
    assert done.exit_code == 0, done.output
    assert "Why" in done.output
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert audited(box) == [ClipsExported("avenue", DAY, "A. Roux", "opj", "réquisition 26/114")]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(("export", "avenue", "2020-01-01", "--to", "out", *WHO), "nothing is kept of avenue", id="no-day"),
        pytest.param(("export", "quai", DAY, "--to", "out", *WHO), "nothing is kept of quai", id="no-camera"),
        pytest.param(("export", "../etc", DAY, "--to", "out", *WHO), "is no id of a camera", id="a-path"),
        pytest.param(("export", "avenue", DAY, "--to", "state/out", *WHO), "in the state folder", id="into-the-box"),
        pytest.param(("export", "avenue", DAY, "--to", "full", *WHO), "not an empty folder", id="full-folder"),
        pytest.param(("export", "avenue", DAY, "--to", "a-file", *WHO), "not an empty folder", id="a-file"),
        pytest.param(
            ("export", "avenue", DAY, "--to", "out", "--since", "10:00", *WHO), "no still from 10:00", id="no-still"
        ),
        pytest.param(("export", "avenue", DAY, "--to", "out", "--since", "8h", *WHO), "no time of a day", id="no-time"),
        pytest.param(
            ("export", "avenue", DAY, "--to", "out", "--who", " ", "--role", "opj", "--why", "y"), "--who", id="nobody"
        ),
        pytest.param(
            ("export", "avenue", DAY, "--to", "out", "--who", "x", "--role", "OPJ!", "--why", "y"), "--role", id="role"
        ),
        pytest.param(
            ("freeze", "avenue", DAY, "--until", until(30), "--reference", "x", "--person", "A"),
            "two persons",
            id="one",
        ),
        pytest.param(
            ("freeze", "avenue", DAY, "--until", until(9), "--reference", "x", "--person", "A. B", "--person", "a.  b"),
            "two persons",
            id="the-same-twice",
        ),
        pytest.param(("freeze", "avenue", DAY, "--until", until(-2), *ORDER), "must come", id="past"),
        pytest.param(("freeze", "avenue", DAY, "--until", until(400), *ORDER), "at most 366 days", id="too-long"),
        pytest.param(("freeze", "avenue", until(2), "--until", until(9), *ORDER), "must have begun", id="tomorrow"),
        pytest.param(("freeze", "avenue", "2020-01-01", "--until", until(9), *ORDER), "nothing is kept", id="gone"),
        pytest.param(("release", "avenue", DAY, *WHO), "is not frozen", id="not-frozen"),
    ],
)
def test_what_cannot_be_done_is_refused_with_one_sentence_and_no_entry(
    box, tmp_path, monkeypatch, words, sentence
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_bytes(b"")
    (tmp_path / "a-file").write_bytes(b"")
    done = run(box, *words)
    assert isinstance(done.exception, RejectedError), done.output
    assert sentence in str(done.exception)
    assert "\n" not in str(done.exception)
    assert list((box / "audit").iterdir()) == []
    assert not (tmp_path / "out").exists()
    assert read_freezes(freezes_of(box)) == {}


def test_a_day_is_frozen_by_two_persons_and_released_by_one_and_both_are_audited(box) -> None:
    done = run(box, "freeze", "avenue", DAY, "--until", until(90), *ORDER)
    assert done.exit_code == 0, done.output
    persons = ("A. Roux", "B. Blanc")
    assert read_freezes(freezes_of(box)) == {
        ("avenue", DAY): Freeze("avenue", DAY, until(90), "PR Nîmes 26/1234", persons)
    }
    assert f"{until(90)}" in run(box, "list").output
    released = run(box, "release", "avenue", DAY, "--who", "A. Roux", "--role", "opj", "--why", "affaire close")
    assert released.exit_code == 0, released.output
    assert read_freezes(freezes_of(box)) == {}
    assert audited(box) == [
        ClipsFrozen("avenue", DAY, until(90), "PR Nîmes 26/1234", persons),
        ClipsReleased("avenue", DAY, "A. Roux", "opj", "affaire close"),
    ]


def test_a_changed_picture_is_not_exported_as_if_nothing_were(box, tmp_path) -> None:
    sealed = clips_of(box) / "days" / f"avenue.{DAY}.stills"
    data = bytearray(sealed.read_bytes())
    data[50] ^= 1
    sealed.write_bytes(bytes(data))
    done = run(box, "export", "avenue", DAY, "--to", tmp_path / "out", *WHO)
    assert isinstance(done.exception, RejectedError)
    assert "was changed" in str(done.exception)


def test_a_list_says_which_key_is_gone_and_which_freeze_cannot_be_read(box) -> None:
    (clips_of(box) / "keys" / f"avenue.{DAY}.key").write_bytes(b"damaged")
    freezes_of(box).mkdir()
    (freezes_of(box) / f"avenue.{DAY}.json").write_bytes(b"{}")
    shown = run(box, "list")
    assert "key gone" in shown.output
    assert "freeze the day again" in shown.output


def test_a_folder_in_which_no_box_has_run_is_refused(tmp_path) -> None:
    done = run(tmp_path / "nowhere", "list")
    assert isinstance(done.exception, RejectedError)
    assert "no box has run in" in str(done.exception)


def test_where_the_audit_cannot_be_told_nothing_is_exported(box, tmp_path) -> None:
    held = AuditLog.open(box / "audit", "x", Ed25519PrivateKey.from_private_bytes(bytes(32)), SystemClock())
    done = run(box, "export", "avenue", DAY, "--to", tmp_path / "out", *WHO)
    held.close()
    assert done.exit_code != 0
    assert not (tmp_path / "out").exists()


def test_a_box_that_runs_and_does_not_answer_is_waited_for_and_nothing_is_done(box) -> None:
    entry = ClipsExported("avenue", DAY, "A. Roux", "opj", "réquisition 26/114")
    lock = lock_state(box)
    with pytest.raises(NotAuditedError, match="nothing was done"):
        write_down(box, entry, SystemClock(), within_s=0.2)
    assert list(errands_of(box).iterdir()) == []
    errands_of(box).rmdir()
    with pytest.raises(NotAuditedError, match="the box cannot be told"):
        write_down(box, entry, SystemClock())
    os.close(lock)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"kind":"box-stopped"}', b"\xff", b"[" * 5000])
def test_what_is_no_errand_is_none(tmp_path, data) -> None:
    (tmp_path / f"{'0' * 64}.json").write_bytes(data)
    assert [errand for _, errand in errands_in(tmp_path)] == [None]


def test_somebody_else_than_the_user_of_the_box_is_refused(box) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give the folder to somebody else")
    os.chown(box / "documents", 65534, 65534)
    done = run(box, "list")
    assert isinstance(done.exception, RejectedError)
    assert "runs as user 65534" in str(done.exception)


def test_a_thousand_frozen_days_are_enough(box) -> None:
    freezes_of(box).mkdir()
    for number in range(FREEZES_MAX):
        (freezes_of(box) / f"cam-{number}.2026-05-01.json").write_bytes(b"")
    done = run(box, "freeze", "avenue", DAY, "--until", until(9), *ORDER)
    assert isinstance(done.exception, RejectedError)
    assert "are frozen already" in str(done.exception)
    assert list((box / "audit").iterdir()) == []


def test_files_of_another_name_are_no_freezes(box) -> None:
    freezes_of(box).mkdir()
    for name in ("notes.txt", "avenue.2026-13-01.json", "avenue.json"):
        (freezes_of(box) / name).write_bytes(b"{}")
    assert read_freezes(freezes_of(box)) == {}
