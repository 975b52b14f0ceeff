"""Where redacted pictures lie, sealed by camera and day: what the eye writes, and what a person on the spot may open.

    clips/days/avenue.2026-05-01.stills    sealed pictures, one behind the other (AES-256-GCM)
    clips/keys/avenue.2026-05-01.key       what opens them, and how old they are; destroyed first
    clips/reckoning                        the clock that never goes back

A picture is bound to its camera, its day, its time and its place in the file, so that none passes for another.
"""

import contextlib
import hashlib
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from veilleur_agent.atomic import replace_file
from veilleur_agent.eye.retention import Lain, Reckoning
from veilleur_contracts.clock import datetime_of
from veilleur_contracts.errors import RejectedError, TransientError

STORE_BYTES_MAX: Final = 8 * 1024**3
FREE_BYTES_MIN: Final = 512 * 1024**2
"""Left free on the disk, for the audit and the outbox."""
STILL_BYTES_MAX: Final = 8 * 1024**2
DAYS_MAX: Final = 4096
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_SEALED_BYTES_MIN: Final = NONCE_BYTES + 16
"""A nonce and the tag of nothing."""
RECKONING_BYTES_MAX: Final = 256

_MAGIC: Final = b"VK1\n"
_KEY: Final = struct.Struct(f">4s{KEY_BYTES}sQQ16s")
"""Magic, key, births, and half the SHA-256 of what stands before."""
_HEAD: Final = struct.Struct(">IQ")
"""Bytes of nonce and sealed picture, and the time of the picture."""
_NAME: Final = re.compile(r"^([a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?)\.([0-9]{4}-[0-9]{2}-[0-9]{2})\.(stills|key)$")


class ClipsFullError(TransientError):
    """There is no room for another picture."""


class ClipsUnwritableError(TransientError):
    """The disk refuses."""


class ClipsUnreadableError(RejectedError):
    """A day that cannot be opened; the sentence says why."""


@dataclass(frozen=True, slots=True)
class _Key:
    key: bytes
    births: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Still:
    """One opened picture: when it was taken, UTC milliseconds, and its JPEG bytes."""

    at_ms: int
    jpeg: bytes


class ClipStore:
    """The clips of one box; holds no key and no picture, only how long the files are that it wrote to.

    Args:
        folder: Where.
        bytes_max: All sealed pictures together.
        free_min: Bytes left free on the disk.
    """

    def __init__(self, folder: Path, bytes_max: int = STORE_BYTES_MAX, free_min: int = FREE_BYTES_MIN) -> None:
        self._days = folder / "days"
        self._keys = folder / "keys"
        self._reckoning = folder / "reckoning"
        self._bytes_max = bytes_max
        self._free_min = free_min
        self._ends: dict[str, int] = {}

    def prepare(self) -> None:
        """Make the folders, and destroy what a crash left of a key that was being written.

        Raises:
            OSError: The disk refuses.
        """
        for folder in (self._days, self._keys):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._keys.glob(".*"):
            _shred(left)
        for left in self._days.parent.glob(".*"):
            left.unlink(missing_ok=True)

    def lain(self) -> list[Lain]:
        """Return what lies here, keys without pictures too; nothing where nothing was ever kept.

        Raises:
            OSError: The folders cannot be read.
        """
        names = {path.stem for folder in (self._days, self._keys) for path in _paths_in(folder) if _is_ours(path)}
        found = []
        for name in sorted(names)[:DAYS_MAX]:
            camera, _, day = name.partition(".")
            key = self._key_of(name)
            found.append(Lain(camera, date.fromisoformat(day), None if key is None else key.births))
        return found

    def size_bytes(self) -> int:
        """Return how long all sealed pictures are together."""
        size = 0
        for path in _paths_in(self._days):
            with contextlib.suppress(FileNotFoundError):  # gone between two looks
                size += path.stat().st_size
        return size

    def add(self, camera: str, at_ms: int, jpeg: bytes, now: Reckoning) -> date:
        """Seal one picture and put it behind the others of its day; safe against a power cut when this returns.

        Args:
            camera: Which camera.
            at_ms: When it was taken, UTC milliseconds.
            jpeg: A redacted picture, encoded by ``eye.clips`` and by nobody else.
            now: Told with the key of a day that begins.

        Returns:
            Its day.

        Raises:
            ClipsFullError: The store or the disk is full.
            ClipsUnwritableError: The disk refuses.
        """
        day = datetime_of(at_ms).date()
        try:
            disk = os.statvfs(self._days)
            is_tight = disk.f_bavail * disk.f_frsize < self._free_min + len(jpeg)
            if len(jpeg) > STILL_BYTES_MAX or is_tight or self.size_bytes() + len(jpeg) > self._bytes_max:
                raise ClipsFullError("there is no room for another picture")
            self._append(f"{camera}.{day}", at_ms, jpeg, now)
        except OSError as error:
            raise ClipsUnwritableError(f"a picture cannot be kept: {error.strerror}") from None
        return day

    def stills(self, camera: str, day: date) -> Iterator[Still]:
        """Open the pictures of one day, in order; one cut short by a power cut is left out.

        Raises:
            ClipsUnreadableError: There are none, the key is gone or does not fit, or a picture was changed.
        """
        name = f"{camera}.{day}"
        key = self._key_of(name)
        if key is None:
            message = f"camera {camera} has no key for {day}: its pictures were destroyed, or never kept"
            raise ClipsUnreadableError(message)
        cipher = AESGCM(key.key)
        try:
            with (self._days / f"{name}.stills").open("rb") as file:
                for place, at_ms, length in _places_of(file):
                    nonce, sealed = file.read(NONCE_BYTES), file.read(length - NONCE_BYTES)
                    yield Still(at_ms, cipher.decrypt(nonce, sealed, _told(name, at_ms, place)))
        except FileNotFoundError:
            return
        except OSError as error:
            raise ClipsUnreadableError(f"the pictures of {camera} on {day} cannot be read: {error.strerror}") from None
        except InvalidTag:
            message = f"a picture of {camera} on {day} was changed, or is sealed with another key"
            raise ClipsUnreadableError(message) from None

    def times(self, camera: str, day: date) -> list[int]:
        """Return when the pictures of one day were taken, UTC milliseconds, without opening any.

        Empty where none lie here, or they cannot be read.
        """
        try:
            with (self._days / f"{camera}.{day}.stills").open("rb") as file:
                return [at_ms for _, at_ms, _ in _places_of(file)]
        except OSError:
            return []

    def destroy_key(self, camera: str, day: date) -> None:
        """Write over the key of a day and remove it: from here on nobody can open its pictures.

        Raises:
            OSError: The disk refuses.
        """
        _shred(self._keys / f"{camera}.{day}.key")

    def remove(self, camera: str, day: date) -> None:
        """Remove the sealed pictures of a day whose key is destroyed; others are left.

        Raises:
            OSError: The disk refuses.
        """
        name = f"{camera}.{day}"
        if (self._keys / f"{name}.key").exists():
            return  # the day goes on, under another key
        self._ends.pop(name, None)
        (self._days / f"{name}.stills").unlink(missing_ok=True)

    def reckoning(self) -> Reckoning | None:
        """Return the reckoning kept last, None when there is none that can be used."""
        try:
            with self._reckoning.open("rb") as file:
                return msgspec.json.decode(file.read(RECKONING_BYTES_MAX), type=Reckoning)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def keep_reckoning(self, now: Reckoning) -> None:
        """Keep the reckoning.

        Raises:
            OSError: The disk refuses.
        """
        replace_file(self._reckoning, msgspec.json.encode(now))

    def _append(self, name: str, at_ms: int, jpeg: bytes, now: Reckoning) -> None:
        path = self._days / f"{name}.stills"
        key = self._key_of(name) or self._new_key(name, path, now)
        nonce = os.urandom(NONCE_BYTES)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            place = self._end_of(name, file)
            sealed = nonce + AESGCM(key.key).encrypt(nonce, jpeg, _told(name, at_ms, place))
            file.seek(place)
            try:
                file.write(_HEAD.pack(len(sealed), at_ms) + sealed)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(file.fileno(), place)
                raise
            self._ends[name] = file.tell()

    def _end_of(self, name: str, file: BinaryIO) -> int:
        """Return where the next picture goes: behind the last whole one."""
        size = file.seek(0, os.SEEK_END)
        if self._ends.get(name) == size:
            return size
        end = 0
        for place, _, length in _places_of(file):
            end = place + _HEAD.size + length
        file.truncate(end)
        return end

    def _new_key(self, name: str, path: Path, now: Reckoning) -> _Key:
        """Make the key of a day; what may still lie there of another one can be opened by nobody."""
        path.unlink(missing_ok=True)
        self._ends.pop(name, None)
        key = _Key(AESGCM.generate_key(KEY_BYTES * 8), (now.aged, now.lived))
        head = _KEY.pack(_MAGIC, key.key, *key.births, b"")[:-16]
        replace_file(self._keys / f"{name}.key", head + hashlib.sha256(head).digest()[:16])
        return key

    def _key_of(self, name: str) -> _Key | None:
        """Return the key of a day, None when there is none that can be used."""
        try:
            with (self._keys / f"{name}.key").open("rb") as file:
                data = file.read(_KEY.size + 1)
        except OSError:
            return None
        if len(data) != _KEY.size or hashlib.sha256(data[:-16]).digest()[:16] != data[-16:]:
            return None
        magic, key, aged, lived, _ = _KEY.unpack(data)
        return _Key(key, (aged, lived)) if magic == _MAGIC else None


def _paths_in(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _is_ours(path: Path) -> bool:
    found = _NAME.fullmatch(path.name)
    if found is None:
        return False
    try:
        date.fromisoformat(found[2])
    except ValueError:
        return False
    return True


def _told(name: str, at_ms: int, place: int) -> bytes:
    """Return what a picture is bound to."""
    return f"veilleur still {name} {at_ms} {place}".encode()


def _places_of(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """Yield where each whole picture begins, its time, and how many sealed bytes follow its head."""
    size, place = file.seek(0, os.SEEK_END), 0
    while place + _HEAD.size <= size:
        file.seek(place)
        length, at_ms = _HEAD.unpack(file.read(_HEAD.size))
        is_whole = place + _HEAD.size + length <= size
        if not is_whole or not _SEALED_BYTES_MIN <= length <= _SEALED_BYTES_MIN + STILL_BYTES_MAX:
            return
        yield place, at_ms, length
        place += _HEAD.size + length


def _shred(path: Path) -> None:
    """Write over a small file, force that to the disk, then remove it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "wb") as file:  # opened already, so it is not made empty first
        file.write(os.urandom(max(os.fstat(file.fileno()).st_size, _KEY.size)))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
