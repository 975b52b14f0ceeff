"""The writer of the audit: what it wrote is whole after a crash, a full disk, a year, and a forger."""

import contextlib
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit_builders import BOX_KEY, DPO_KEYS, LOG, ORIGIN, WITNESSES, chained, write_log, write_tiles
from box_builders import files_no_longer_than
from veilleur_agent.audit import CHECKPOINT_EVERY_S, AuditBusyError, AuditLog, AuditUnwritableError
from veilleur_agent.audit_files import CHECKPOINTS_EACH, AuditDamagedError, set_aside
from veilleur_agent.audit_key import AuditKeyRejectedError, read_or_make_key
from veilleur_contracts.audit import (
    BoxStarted,
    ClockJumped,
    DiskFull,
    LogMended,
    LogPruned,
    LogSetAside,
    decode_entry,
)
from veilleur_contracts.audit_check import Findings, check_log
from veilleur_contracts.merkle import is_consistent
from veilleur_contracts.notes import NoteRejectedError, cosign, read_checkpoint, read_verifier
from veilleur_contracts.tiles import ENTRIES, Tiles, tile_path


class SetClock:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.at_ms = 1_777_636_800_000
        self.at_s = 50.0

    def now_ms(self) -> int:
        return self.at_ms

    def elapsed_s(self) -> float:
        return self.at_s

    def pass_days(self, days: float) -> None:
        self.at_ms += int(days * 86_400_000)
        self.at_s += days * 86_400


@contextmanager
def opened(folder: Path, clock=None):
    log = AuditLog.open(folder, ORIGIN, BOX_KEY, clock or SetClock())
    try:
        yield log
    finally:
        log.close()


def checked(folder: Path, **more) -> Findings:
    return check_log(Tiles(folder), LOG, WITNESSES, **more)


def whats(folder: Path) -> list:
    tiles = Tiles(folder)
    return [decode_entry(raw).what for number in tiles.bundles() for raw in tiles.bundle(number)[0]]


def prepared(folder: Path, count: int) -> None:
    """Lay ``count`` entries down without waiting for the disk; the writer goes on from there."""
    write_log(folder, chained([ClockJumped(one) for one in range(count)]))


def filled(folder: Path, count: int) -> None:
    prepared(folder, count)
    with opened(folder) as log:
        log.checkpoint()


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 520])
def test_a_log_is_whole_when_closed_and_when_opened_again(tmp_path, count) -> None:
    prepared(tmp_path, max(count - 2, 0))
    with opened(tmp_path) as log:
        while log.size < count:
            log.append(ClockJumped(log.size))
        log.checkpoint()
    found = checked(tmp_path)
    assert (found.is_whole, found.size, found.signed_size) == (True, count, count)
    with opened(tmp_path) as log:
        assert log.append(BoxStarted("0.1.0", "signed")) == count
    assert checked(tmp_path).is_whole


def test_the_key_that_verifies_stands_with_the_log(tmp_path) -> None:
    filled(tmp_path, 1)
    assert read_verifier((tmp_path / "key").read_text(encoding="ascii")) == LOG


def test_tiles_are_those_that_anybody_would_compute(tmp_path) -> None:
    with opened(tmp_path / "log") as log:
        for one in range(260):
            log.append(ClockJumped(one))
    tiles = Tiles(tmp_path / "log")
    write_tiles(tmp_path / "same", [raw for number in tiles.bundles() for raw in tiles.bundle(number)[0]])
    theirs = {
        path.relative_to(tmp_path / "same"): path.read_bytes()
        for path in (tmp_path / "same").rglob("[0-9]*")
        if path.is_file()
    }
    ours = {path: (tmp_path / "log" / path).read_bytes() for path in theirs}
    assert ours == theirs


def test_one_box_has_one_writer(tmp_path) -> None:
    with opened(tmp_path), pytest.raises(AuditBusyError, match="one writer"):
        AuditLog.open(tmp_path, ORIGIN, BOX_KEY, SetClock())


def test_a_checkpoint_is_due_each_hour_if_something_happened(tmp_path) -> None:
    clock = SetClock()
    with opened(tmp_path, clock) as log:
        log.append(ClockJumped(1))
        assert not log.is_checkpoint_due()
        clock.at_s += CHECKPOINT_EVERY_S
        assert log.is_checkpoint_due()
        note = log.checkpoint()
        assert not log.is_checkpoint_due()
        clock.at_s += CHECKPOINT_EVERY_S
        assert not log.is_checkpoint_due()
        assert log.checkpoint() == note


def test_a_witness_sees_that_the_log_only_grew_and_its_signature_is_kept(tmp_path) -> None:
    prepared(tmp_path, 300)
    with opened(tmp_path) as log:
        first = read_checkpoint(log.checkpoint(), log.verifier).checkpoint
        for one in range(7):
            log.append(ClockJumped(one))
        note = log.checkpoint()
        second = read_checkpoint(note, log.verifier).checkpoint
        assert is_consistent(first.size, first.root, second.size, second.root, log.proof_since(first.size))
        for name, key in DPO_KEYS.items():
            note = cosign(note, name, key, 1_777_636_800)
        log.keep_cosigned(note)
        assert log.newest_checkpoint() == note
    assert checked(tmp_path).witnessed == {"dpo-ville": 307, "dpo-agglo": 307}


def test_a_checkpoint_of_another_log_is_not_kept(tmp_path) -> None:
    filled(tmp_path / "other", 9)
    note = (tmp_path / "other" / "checkpoint").read_bytes()
    with opened(tmp_path / "log") as log:
        with pytest.raises(NoteRejectedError):
            log.keep_cosigned(note)
        for one in range(20):
            log.append(ClockJumped(-one))
        with pytest.raises(NoteRejectedError, match="not of this log"):
            log.keep_cosigned(note)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_crash_at_any_byte_loses_nothing_that_was_written(tmp_path_factory, data) -> None:
    folder = tmp_path_factory.mktemp("log")
    count = data.draw(st.sampled_from([1, 3, 256, 257]))
    filled(folder, count)
    with opened(folder) as log:
        log.append(BoxStarted("0.1.0", "signed"))
    bundle = tile_path(folder, ENTRIES, count // 256)
    tile = tile_path(folder, 0, count // 256)
    start = len(b"".join(b"xx" + raw for raw in Tiles(folder).bundle(count // 256)[0][:-1]))
    cut = data.draw(st.integers(start, bundle.stat().st_size))
    was_whole = cut == bundle.stat().st_size
    os.truncate(bundle, cut)
    hash_bytes = data.draw(st.integers(0, 32)) if was_whole else data.draw(st.integers(0, 0))
    os.truncate(tile, 32 * (count % 256) + hash_bytes)
    with opened(folder) as log:
        log.checkpoint()
    found = checked(folder)
    assert found.is_whole
    told = whats(folder)
    assert told[:count] == [ClockJumped(one) for one in range(count)]
    if was_whole:
        assert told[count:] == [BoxStarted("0.1.0", "signed")]
    elif cut > start:
        assert told[count:] == [LogMended(cut - start)]
    else:
        assert told[count:] == []


def test_zeros_that_a_power_cut_left_at_the_end_are_cut_off(tmp_path) -> None:
    filled(tmp_path, 5)
    bundle = tile_path(tmp_path, ENTRIES, 0)
    bundle.write_bytes(bundle.read_bytes() + bytes(100))
    with opened(tmp_path):
        pass
    assert whats(tmp_path)[-1] == LogMended(100)
    assert checked(tmp_path).is_whole


def truncated(path: Path, by: int) -> None:
    os.truncate(path, path.stat().st_size - by)


def flipped(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda log: truncated(tile_path(log, ENTRIES, 1), 3), id="an-entry-cut-after-it-was-safe"),
        pytest.param(lambda log: tile_path(log, ENTRIES, 1).unlink(), id="the-last-bundle-gone"),
        pytest.param(lambda log: flipped(tile_path(log, ENTRIES, 1), 60), id="an-entry-changed"),
        pytest.param(lambda log: flipped(tile_path(log, ENTRIES, 0), -60), id="an-entry-before-it-changed"),
        pytest.param(lambda log: truncated(tile_path(log, ENTRIES, 0), 3), id="a-bundle-that-does-not-end"),
        pytest.param(lambda log: flipped(tile_path(log, 0, 1), 5), id="a-hash-changed"),
        pytest.param(lambda log: truncated(tile_path(log, 0, 1), 64), id="hashes-gone"),
        pytest.param(lambda log: tile_path(log, 0, 0).unlink(), id="a-tile-gone"),
        pytest.param(lambda log: flipped(tile_path(log, 1, 0), 5), id="a-hash-above-changed"),
        pytest.param(lambda log: tile_path(log, 1, 0).write_bytes(bytes(64)), id="a-hash-above-too-many"),
        pytest.param(lambda log: flipped(log / "checkpoint", 60), id="the-checkpoint-changed"),
        pytest.param(lambda log: (log / "tile" / "entries" / "x").write_text("?", encoding="ascii"), id="a-stranger"),
    ],
)
def test_what_no_crash_leaves_is_set_aside_and_told(tmp_path, damage) -> None:
    folder = tmp_path / "audit"
    filled(folder, 300)
    damage(folder)
    with pytest.raises(AuditDamagedError):
        AuditLog.open(folder, ORIGIN, BOX_KEY, SetClock())
    log = AuditLog.open_or_begin_again(folder, ORIGIN, BOX_KEY, SetClock())
    log.checkpoint()
    log.close()
    assert isinstance(whats(folder)[0], LogSetAside)
    assert whats(folder)[0].folder == "audit-aside-1"
    assert log.verifier.name == f"{ORIGIN}/2"
    assert check_log(Tiles(folder), log.verifier).is_whole
    again = AuditLog.open_or_begin_again(folder, ORIGIN, BOX_KEY, SetClock())
    assert again.size == 1
    again.close()


def test_an_older_copy_put_back_is_noticed_by_its_checkpoint(tmp_path) -> None:
    filled(tmp_path, 20)
    newest = (tmp_path / "checkpoint").read_bytes()
    filled(tmp_path / "older", 12)
    (tmp_path / "older" / "checkpoint").write_bytes(newest)
    with pytest.raises(AuditDamagedError, match="signed at 20"):
        AuditLog.open(tmp_path / "older", ORIGIN, BOX_KEY, SetClock())
    assert set_aside(tmp_path / "older").name == "older-aside-1"


def test_pruning_keeps_roots_proofs_and_says_so(tmp_path) -> None:
    clock = SetClock()
    prepared(tmp_path, 600)
    with opened(tmp_path, clock) as log:
        assert log.prune() == 0
        early = read_checkpoint(log.checkpoint(), log.verifier).checkpoint
        clock.pass_days(366)
        log.append(ClockJumped(1))
        assert log.prune() == 512
        assert log.prune() == 512
        late = read_checkpoint(log.checkpoint(), log.verifier).checkpoint
        assert is_consistent(early.size, early.root, late.size, late.root, log.proof_since(early.size))
    assert whats(tmp_path)[-1] == LogPruned(512)
    found = checked(tmp_path)
    assert (found.is_whole, found.kept_from, found.size) == (True, 512, 602)
    assert not tile_path(tmp_path, 0, 1).exists()
    assert tile_path(tmp_path, 1, 0).stat().st_size == 64
    with opened(tmp_path, clock) as log:
        while log.size < 780:
            log.append(ClockJumped(0))
        log.checkpoint()
    assert checked(tmp_path).is_whole


def test_what_no_checkpoint_covers_is_not_pruned(tmp_path) -> None:
    clock = SetClock()
    prepared(tmp_path, 600)
    with opened(tmp_path, clock) as log:
        clock.pass_days(366)
        assert log.prune() == 0


def test_a_clock_set_to_2100_prunes_little_at_once(tmp_path) -> None:
    clock = SetClock()
    prepared(tmp_path, 256 * 6 + 1)
    with opened(tmp_path, clock) as log:
        log.checkpoint()
        clock.at_ms = 4_102_444_800_000
        assert log.prune() == 1024


def test_growth_is_bounded_year_after_year(tmp_path) -> None:
    """Five years of 1,024 entries: each year's go, 32 bytes of every 256 stay."""
    clock = SetClock()
    entries = chained([ClockJumped(0)])
    sizes = []
    for _ in range(5):
        entries = chained([ClockJumped(0) for _ in range(1024)], after=entries)
        gone = [number for number in range(len(entries) // 256) if sizes and number < Tiles(tmp_path).bundles()[0]]
        write_log(tmp_path, entries)
        for number in gone:
            tile_path(tmp_path, ENTRIES, number).unlink()
            tile_path(tmp_path, 0, number).unlink()
        with opened(tmp_path, clock) as log:
            log.checkpoint()
            clock.pass_days(366)
            log.append(ClockJumped(1))
            log.prune()
            log.checkpoint()
        entries = all_entries(tmp_path, entries)
        sizes.append(sum(path.stat().st_size for path in (tmp_path / "tile").rglob("*") if path.is_file()))
    assert max(sizes) < 0.01 * sum(2 + len(raw) + 32 for raw in entries)
    assert checked(tmp_path).is_whole


def all_entries(folder: Path, before: list[bytes]) -> list[bytes]:
    """Return every entry ever written: those known before, and those the log has had added."""
    tiles = Tiles(folder)
    kept = [raw for number in tiles.bundles() for raw in tiles.bundle(number)[0]]
    return before[: tiles.bundles()[0] * 256] + kept


def test_checkpoints_thin_out_to_one_a_day(tmp_path) -> None:
    clock = SetClock()
    with opened(tmp_path, clock) as log:
        for one in range(2 * CHECKPOINTS_EACH):
            log.append(ClockJumped(one))
            log.checkpoint()
            clock.pass_days(0.25)
    kept = list((tmp_path / "checkpoints").iterdir())
    assert CHECKPOINTS_EACH < len(kept) <= CHECKPOINTS_EACH * 1.25 + 1
    assert checked(tmp_path).is_whole


def test_a_full_disk_is_said_and_leaves_the_log_whole(tmp_path) -> None:
    prepared(tmp_path, 100)
    with opened(tmp_path) as log:
        room = tile_path(tmp_path, ENTRIES, 0).stat().st_size + 40
        with files_no_longer_than(room):
            for _ in range(3):
                with pytest.raises(AuditUnwritableError, match="strictest"):
                    log.append(ClockJumped(-1))
            assert log.is_short
            assert log.size == 100
        assert log.append(ClockJumped(7)) == 101
        assert not log.is_short
        log.checkpoint()
    assert whats(tmp_path)[100:] == [DiskFull(3), ClockJumped(7)]
    assert checked(tmp_path).is_whole


def fill(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        with contextlib.suppress(OSError):
            while True:
                os.write(descriptor, bytes(4096))
    finally:
        os.close(descriptor)


def append_for_ever(log: AuditLog) -> None:
    for one in range(100_000):
        log.append(ClockJumped(one))


def test_the_reserve_gives_room_for_the_last_words(tmp_path) -> None:
    """A disk of its own, filled to the last block: real, where this machine lets us mount one."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let a test mount a disk")
    try:
        with opened(disk / "audit") as log:
            log.append(BoxStarted("0.1.0", "signed"))
            fill(disk / "filler")
            written = log.size
            with pytest.raises(AuditUnwritableError):
                append_for_ever(log)
            assert log.size > written
            assert log.is_short
            (disk / "filler").unlink()
            log.append(ClockJumped(0))
            assert not log.is_short
            log.checkpoint()
        assert checked(disk / "audit").is_whole
        assert DiskFull(1) in whats(disk / "audit")
    finally:
        subprocess.run(["/bin/umount", disk], check=True)


def test_a_writer_killed_in_the_middle_leaves_a_log_that_opens(tmp_path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from audit_builders import BOX_KEY, ORIGIN\n"
        "from veilleur_agent.audit import AuditLog\n"
        "from veilleur_contracts.audit import ClockJumped\n"
        "from veilleur_contracts.clock import SystemClock\n"
        "log = AuditLog.open(Path(sys.argv[1]), ORIGIN, BOX_KEY, SystemClock())\n"
        "for one in range(1_000_000):\n"
        "    print(log.append(ClockJumped(one)), flush=True)\n"
    )
    tests = str(Path(__file__).parents[1])
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), tests], stdout=subprocess.PIPE, text=True)
        said = [writer.stdout.readline() for _ in range(40)]
        writer.kill()
        said += writer.stdout.read().splitlines()
        writer.wait(10)
        writer.stdout.close()
        safe = int([line for line in said if line.strip()][-1])
        with opened(tmp_path) as log:
            assert log.size > safe
            log.checkpoint()
    assert checked(tmp_path).is_whole


def test_the_key_is_made_once_and_read_by_its_owner_alone(tmp_path) -> None:
    path = tmp_path / "audit-key.pem"
    key = read_or_make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_or_make_key(path).private_bytes_raw() == key.private_bytes_raw()
    path.chmod(0o640)
    with pytest.raises(AuditKeyRejectedError, match="chmod 600"):
        read_or_make_key(path)


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(tmp_path, content) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(AuditKeyRejectedError):
        read_or_make_key(path)
