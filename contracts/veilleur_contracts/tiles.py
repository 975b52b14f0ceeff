"""An audit log as files, laid out as C2SP tlog-tiles says, so that any reader of such logs can read it.

    tile/entries/000          256 entries, each behind its length (uint16, big-endian)
    tile/0/000                their 256 leaf hashes
    tile/1/000                one hash for each whole tile of level 0; and so on upwards
    checkpoint                the newest signed head; older ones in checkpoints/
    key                       the key it is signed with, for whoever verifies

A tile that is not full yet has the name it will have and grows at its end (the specification's ``.p/W`` names are for
serving). Pruning removes whole bundles with their tiles of level 0; higher levels stay, 32 bytes for 256 entries.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from veilleur_contracts.audit import ENTRY_BYTES_MAX
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.merkle import HASH_BYTES, node_hash

TILE_WIDTH: Final = 256
TILE_BITS: Final = 8
LENGTH_BYTES: Final = 2
BUNDLE_BYTES_MAX: Final = TILE_WIDTH * (LENGTH_BYTES + ENTRY_BYTES_MAX)
BUNDLES_MAX: Final = 65_536
ENTRIES: Final = "entries"


class LogUnreadableError(RejectedError):
    """A log whose files cannot be read as they are; the sentence names the file."""


def tile_path(folder: Path, level: int | str, index: int) -> Path:
    """Return where a tile stands: its index in groups of three digits, all but the last behind an ``x``."""
    groups = [f"{index % 1000:03d}"]
    while index >= 1000:  # noqa: PLR2004 - three digits to a group
        index //= 1000
        groups.append(f"x{index % 1000:03d}")
    return folder.joinpath("tile", str(level), *reversed(groups))


def framed(entry: bytes) -> bytes:
    """Return ``entry`` as it stands in a bundle."""
    return len(entry).to_bytes(LENGTH_BYTES, "big") + entry


def split_bundle(data: bytes) -> tuple[list[bytes], int]:
    """Return the whole entries of a bundle, and how many bytes at its end are no whole entry."""
    entries: list[bytes] = []
    at = 0
    while at + LENGTH_BYTES <= len(data) and len(entries) < TILE_WIDTH:
        length = int.from_bytes(data[at : at + LENGTH_BYTES], "big")
        if length == 0 or at + LENGTH_BYTES + length > len(data):
            break
        entries.append(data[at + LENGTH_BYTES : at + LENGTH_BYTES + length])
        at += LENGTH_BYTES + length
    return entries, len(data) - at


class Tiles:
    """The files of one log, read with bounds; keeps nothing in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def bundle(self, index: int) -> tuple[list[bytes], int]:
        """Return the entries of a bundle and its torn bytes; empty where there is none."""
        return split_bundle(self._bytes(tile_path(self.folder, ENTRIES, index), BUNDLE_BYTES_MAX))

    def hashes(self, level: int, index: int) -> list[bytes]:
        """Return the hashes of a tile, without a torn one at its end; empty where there is none."""
        data = self._bytes(tile_path(self.folder, level, index), TILE_WIDTH * HASH_BYTES)
        return [data[at : at + HASH_BYTES] for at in range(0, len(data) - HASH_BYTES + 1, HASH_BYTES)]

    def bundles(self) -> list[int]:
        """Return the indices of the bundles there are, in order.

        Raises:
            LogUnreadableError: There are more than ``BUNDLES_MAX``, or a file that is none.
        """
        found = []
        for path in self._files(self.folder / "tile" / ENTRIES):
            parts = path.relative_to(self.folder / "tile" / ENTRIES).parts
            digits = "".join(part.removeprefix("x") for part in parts)
            if not digits.isdecimal() or tile_path(self.folder, ENTRIES, int(digits)) != path:
                message = f"{path.name} is no bundle of an audit log; remove it from {path.parent}"
                raise LogUnreadableError(message)
            found.append(int(digits))
        return sorted(found)

    def subtree(self, level: int, index: int) -> bytes:
        """Return the hash of a whole subtree from its tile.

        Raises:
            LogUnreadableError: The tile that would say is missing or too short.
        """
        tile_level, height = divmod(level, TILE_BITS)
        first = index << height
        hashes = self.hashes(tile_level, first // TILE_WIDTH)
        start = first % TILE_WIDTH
        row = hashes[start : start + (1 << height)]
        if len(row) != 1 << height:
            path = tile_path(self.folder, tile_level, first // TILE_WIDTH).relative_to(self.folder)
            message = f"{path} lacks hashes that the tree needs"
            raise LogUnreadableError(message)
        return folded(row)

    def notes(self) -> Iterator[bytes]:
        """Give every checkpoint kept with the log, oldest first, the newest last."""
        for path in sorted(self._files(self.folder / "checkpoints")):
            yield self._bytes(path, 65_536)
        newest = self._bytes(self.folder / "checkpoint", 65_536)
        if newest:
            yield newest

    def _files(self, folder: Path) -> Iterator[Path]:
        for count, path in enumerate(folder.rglob("*")):
            if count > BUNDLES_MAX:
                message = f"{folder.name} holds more than {BUNDLES_MAX} files"
                raise LogUnreadableError(message)
            if path.is_file() and not path.name.startswith("."):
                yield path

    def _bytes(self, path: Path, most: int) -> bytes:
        try:
            with path.open("rb") as file:
                data = file.read(most + 1)
        except FileNotFoundError:
            return b""
        except OSError as error:
            message = f"cannot read {path.name} of the audit log: {error.strerror}"
            raise LogUnreadableError(message) from None
        if len(data) > most:
            message = f"{path.relative_to(self.folder)} is longer than {most} bytes"
            raise LogUnreadableError(message)
        return data


def folded(row: list[bytes]) -> bytes:
    """Return the hash over a row of 2**n hashes."""
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]
