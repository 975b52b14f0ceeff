"""What lies on a box's disk: sealed, bound to its place, gone with its key, and mended after a crash."""

import os
import resource
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from clip_builders import FIRST_MAY, FIRST_MAY_MS, JPEG, a_reckoning, a_store
from veilleur_agent.clip_store import (
    STILL_BYTES_MAX,
    ClipsFullError,
    ClipStore,
    ClipsUnreadableError,
    ClipsUnwritableError,
)
from veilleur_agent.eye.retention import DAY_MS, Lain

AVENUE = "avenue"
NAME = f"{AVENUE}.{FIRST_MAY}"


def opened(store: ClipStore, day: date = FIRST_MAY, camera: str = AVENUE) -> list[tuple[int, bytes]]:
    return [(still.at_ms, still.jpeg) for still in store.stills(camera, day)]


def test_pictures_come_out_as_they_went_in_day_by_day(tmp_path) -> None:
    store = a_store(tmp_path, 2)
    assert opened(store) == [(FIRST_MAY_MS, JPEG), (FIRST_MAY_MS + 60_000, JPEG)]
    assert [at_ms for at_ms, _ in opened(store, FIRST_MAY + timedelta(1))] == [
        FIRST_MAY_MS + DAY_MS,
        FIRST_MAY_MS + DAY_MS + 60_000,
    ]
    second_ms = FIRST_MAY_MS + DAY_MS
    assert store.lain() == [
        Lain(AVENUE, FIRST_MAY, (FIRST_MAY_MS, FIRST_MAY_MS)),
        Lain(AVENUE, FIRST_MAY + timedelta(1), (second_ms, second_ms)),
    ]
    assert store.times(AVENUE, FIRST_MAY) == [FIRST_MAY_MS, FIRST_MAY_MS + 60_000]
    assert store.times(AVENUE, date(2030, 1, 1)) == []
    assert store.size_bytes() == sum(path.stat().st_size for path in (tmp_path / "days").iterdir()) > 4 * len(JPEG)


def test_nothing_on_the_disk_can_be_read_and_only_its_owner_may_try(tmp_path) -> None:
    a_store(tmp_path, 3)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 6
    for path in files:
        data = path.read_bytes()
        assert not any(JPEG[at : at + 8] in data for at in range(len(JPEG) - 8))
        assert path.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "days", tmp_path / "keys"))


def test_the_same_picture_is_never_sealed_twice_alike(tmp_path) -> None:
    store = a_store(tmp_path)
    for _ in range(3):
        store.add(AVENUE, FIRST_MAY_MS, JPEG, a_reckoning())
    data = (tmp_path / "days" / f"{NAME}.stills").read_bytes()
    third = len(data) // 3
    assert len({data[at : at + third] for at in (0, third, 2 * third)}) == 3


def test_without_its_key_a_day_is_gone_and_its_file_follows(tmp_path) -> None:
    store = a_store(tmp_path, 1)
    key = tmp_path / "keys" / f"{NAME}.key"
    before = key.read_bytes()
    with key.open("rb") as held:  # what another process still has open is written over too
        store.destroy_key(AVENUE, FIRST_MAY)
        after = held.read()
    assert len(after) == len(before)
    assert not any(before[at : at + 8] in after for at in range(len(before) - 8))
    assert not key.exists()
    with pytest.raises(ClipsUnreadableError, match="has no key for 2026-05-01"):
        opened(store)
    assert store.lain() == [Lain(AVENUE, FIRST_MAY, None)]
    store.remove(AVENUE, FIRST_MAY)
    assert store.lain() == []
    store.destroy_key(AVENUE, FIRST_MAY)
    store.remove(AVENUE, FIRST_MAY)


def test_a_day_that_goes_on_gets_another_key_and_is_not_removed_with_the_old_one(tmp_path) -> None:
    store = a_store(tmp_path, 1)
    store.destroy_key(AVENUE, FIRST_MAY)
    store.add(AVENUE, FIRST_MAY_MS + 1, JPEG, a_reckoning(FIRST_MAY_MS + 1))
    store.remove(AVENUE, FIRST_MAY)
    assert opened(store) == [(FIRST_MAY_MS + 1, JPEG)]
    assert store.lain()[0].births == (FIRST_MAY_MS + 1, FIRST_MAY_MS + 1)


@pytest.mark.parametrize("torn", [1, 5, 11, 30])
def test_what_a_power_cut_tore_is_left_out_and_written_over(tmp_path, torn) -> None:
    a_store(tmp_path, 1)
    path = tmp_path / "days" / f"{NAME}.stills"
    os.truncate(path, path.stat().st_size - torn)
    store = a_store(tmp_path)
    assert opened(store) == [(FIRST_MAY_MS, JPEG)]
    store.add(AVENUE, FIRST_MAY_MS + 120_000, JPEG, a_reckoning())
    assert [at_ms for at_ms, _ in opened(store)] == [FIRST_MAY_MS, FIRST_MAY_MS + 120_000]


def swapped_places(data: bytes) -> bytes:
    half = len(data) // 2
    return data[half:] + data[:half]


def with_another_time(data: bytes) -> bytes:
    return data[:11] + bytes([data[11] ^ 1]) + data[12:]


def with_another_bit(data: bytes) -> bytes:
    return data[:40] + bytes([data[40] ^ 1]) + data[41:]


@pytest.mark.parametrize("change", [swapped_places, with_another_time, with_another_bit])
def test_a_picture_that_was_changed_or_moved_is_refused(tmp_path, change) -> None:
    store = a_store(tmp_path, 1)
    path = tmp_path / "days" / f"{NAME}.stills"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ClipsUnreadableError, match="a picture of avenue on 2026-05-01 was changed"):
        opened(store)


def test_a_day_passed_off_as_another_is_refused(tmp_path) -> None:
    store = a_store(tmp_path, 1)
    other = FIRST_MAY + timedelta(1)
    for folder, ending in (("days", "stills"), ("keys", "key")):
        here = tmp_path / folder / f"{NAME}.{ending}"
        (tmp_path / folder / f"{AVENUE}.{other}.{ending}").write_bytes(here.read_bytes())
    with pytest.raises(ClipsUnreadableError, match="was changed"):
        opened(store, other)


@pytest.mark.parametrize(
    "data", [b"", b"x" * 68, b"x" * 100, None], ids=["empty", "of-its-length", "too-long", "a-folder"]
)
def test_a_damaged_key_is_no_key(tmp_path, data) -> None:
    store = a_store(tmp_path, 1)
    key = tmp_path / "keys" / f"{NAME}.key"
    key.unlink()
    key.write_bytes(data) if data is not None else key.mkdir()
    assert store.lain() == [Lain(AVENUE, FIRST_MAY, None)]
    with pytest.raises(ClipsUnreadableError, match="no key"):
        opened(store)


def test_what_is_not_ours_is_left_and_half_written_keys_are_destroyed(tmp_path) -> None:
    a_store(tmp_path, 1)
    (tmp_path / "keys" / ".avenue.2026-05-01.key.0a1b").write_bytes(b"k" * 60)
    (tmp_path / ".reckoning.0a1b").write_bytes(b"{}")
    for name in ("notes.txt", "avenue.2026-13-01.stills", "AVENUE.2026-05-01.stills"):
        (tmp_path / "days" / name).write_bytes(b"x")
    store = a_store(tmp_path)
    assert [one.day for one in store.lain()] == [FIRST_MAY]
    assert [path.name for path in (tmp_path / "keys").iterdir()] == [f"{NAME}.key"]
    assert {path.name for path in tmp_path.iterdir()} == {"days", "keys"}
    assert (tmp_path / "days" / "notes.txt").exists()


@pytest.mark.parametrize(
    ("bounds", "jpeg"),
    [
        pytest.param({"bytes_max": 200}, JPEG, id="store"),
        pytest.param({"free_min": 1 << 60}, JPEG, id="disk"),
        pytest.param({}, bytes(STILL_BYTES_MAX + 1), id="picture"),
    ],
)
def test_a_full_store_takes_no_more_and_loses_nothing(tmp_path, bounds, jpeg) -> None:
    a_store(tmp_path, 1)
    full = a_store(tmp_path, **bounds)
    with pytest.raises(ClipsFullError):
        full.add(AVENUE, FIRST_MAY_MS, jpeg, a_reckoning())
    assert len(opened(full)) == 2


FILLING = """
import resource, sys
from pathlib import Path
from clip_builders import FIRST_MAY_MS, JPEG, a_reckoning, a_store
from veilleur_agent.clip_store import ClipsUnwritableError
store = a_store(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
kept = 0
try:
    for n in range(50):
        store.add("avenue", FIRST_MAY_MS + n, JPEG, a_reckoning())
        kept += 1
except ClipsUnwritableError as error:
    print(kept, error)
"""


@pytest.mark.processes
def test_a_disk_that_refuses_in_the_middle_of_a_picture_leaves_whole_ones(tmp_path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    command = [sys.executable, "-c", "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + FILLING]
    done = subprocess.run(
        [*command, str(tmp_path)],
        env={"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    kept, _, sentence = done.stdout.strip().partition(" ")
    assert int(kept) >= 1
    assert sentence.startswith("a picture cannot be kept: File too large")
    store = a_store(tmp_path)
    assert len(opened(store)) == int(kept)
    store.add(AVENUE, FIRST_MAY_MS + 1000, JPEG, a_reckoning())
    assert len(opened(store)) == int(kept) + 1


def test_a_folder_that_is_none_is_an_error_that_says_so(tmp_path) -> None:
    store = a_store(tmp_path, 1)
    (tmp_path / "days" / f"{NAME}.stills").unlink()
    assert opened(store) == []
    (tmp_path / "days" / f"{NAME}.stills").mkdir()
    with pytest.raises(ClipsUnreadableError, match="cannot be read"):
        opened(store)
    with pytest.raises(ClipsUnwritableError, match="cannot be kept"):
        store.add(AVENUE, FIRST_MAY_MS, JPEG, a_reckoning())
    assert store.times(AVENUE, FIRST_MAY) == []


@pytest.mark.parametrize(
    "data",
    [b"", b"[1,2]", b'{"aged":1}', b"\xff\xfe", b"[" * 10_000],
    ids=["empty", "short", "of-another-form", "no-text", "deep"],
)
def test_a_damaged_reckoning_is_none(tmp_path, data) -> None:
    store = a_store(tmp_path)
    assert store.reckoning() is None
    store.keep_reckoning(a_reckoning())
    assert store.reckoning() == a_reckoning()
    (tmp_path / "reckoning").write_bytes(data)
    assert store.reckoning() is None
