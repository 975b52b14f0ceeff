"""The files of an audit log as its writer keeps them: append, mend after a crash, refuse what no crash leaves."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from veilleur_agent.atomic import replace_file
from veilleur_contracts.audit import FIRST_PREV, AuditRejectedError, chain_hash, decode_entry
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.merkle import HASH_BYTES, leaf_hash
from veilleur_contracts.tiles import ENTRIES, TILE_BITS, TILE_WIDTH, LogUnreadableError, Tiles, folded, tile_path

CHECKPOINTS_EACH: Final = 48
"""The newest checkpoints are all kept; of those before, one a day."""
CHECKPOINT_DAYS: Final = 400


class AuditDamagedError(RejectedError):
    """The log on disk is not the one that was written; it must be set aside, not mended."""


@dataclass(frozen=True, slots=True)
class Mended:
    """A log in order again: its size, the hash its next entry refers to, and how much was cut off its end."""

    size: int
    prev: str
    torn_bytes: int


def mend(tiles: Tiles) -> Mended:
    """Bring the files in order after a crash: cut a half-written entry off, add a missing hash.

    Only the end is read; ``veilleur-fleet audit verify`` reads all of it.

    Raises:
        AuditDamagedError: No crash of ours leaves files like these.
        OSError: The disk refuses.
    """
    try:
        bundles = tiles.bundles()
        state = Mended(0, FIRST_PREV, 0)
        for number in bundles[-2:]:
            state = _mend_bundle(tiles, number, state, is_last=number == bundles[-1])
        raise_levels(tiles, state.size)
    except LogUnreadableError as error:
        raise AuditDamagedError(str(error)) from None
    return state


def raise_levels(tiles: Tiles, size: int) -> None:
    """Write the hashes of tiles that have become full, and those that a crash or a full disk left out.

    Raises:
        AuditDamagedError: There are hashes of entries that there are not, or too few.
        OSError: The disk refuses; the next call catches up.
    """
    level = 1
    while (expected := size >> (TILE_BITS * level)) > 0:
        number, needed = (expected - 1) // TILE_WIDTH, (expected - 1) % TILE_WIDTH + 1
        held = len(tiles.hashes(level, number))
        if held > needed:
            message = f"the audit log has hashes of entries it does not have, at level {level}"
            raise AuditDamagedError(message)
        for place in range(held, needed):
            row = tiles.hashes(level - 1, number * TILE_WIDTH + place)
            if len(row) != TILE_WIDTH:
                message = f"the audit log lacks hashes at level {level - 1}"
                raise AuditDamagedError(message)
            append_durably(tile_path(tiles.folder, level, number), folded(row))
        level += 1


def append_both(tiles: Tiles, size: int, framed_entry: bytes, leaf: bytes) -> None:
    """Add one entry and its hash, or neither.

    Raises:
        OSError: The disk refused; the files are as they were.
    """
    number = size // TILE_WIDTH
    paths = (tile_path(tiles.folder, ENTRIES, number), tile_path(tiles.folder, 0, number))
    lengths = [path.stat().st_size if path.exists() else 0 for path in paths]
    try:
        append_durably(paths[0], framed_entry)
        append_durably(paths[1], leaf)
    except OSError:
        for path, length in zip(paths, lengths, strict=True):
            if path.exists():
                os.truncate(path, length)
        raise


def append_durably(path: Path, data: bytes) -> None:
    """Add ``data`` to the end of a file and force it to disk, with the folder when the file is new.

    Raises:
        OSError: The disk refused; part of ``data`` may stand there.
    """
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        written = 0
        while written < len(data):
            written += os.write(descriptor, data[written:])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)


def keep_note(folder: Path, note: bytes, size: int, day: str) -> None:
    """Keep a checkpoint, in the place of an earlier one of the same size, and let go of those that are too many.

    Args:
        folder: The log's.
        note: The checkpoint.
        size: Its size.
        day: Today, ``20260501``.

    Raises:
        OSError: The disk refuses.
    """
    kept_in = folder / "checkpoints"
    kept_in.mkdir(exist_ok=True)
    earlier = sorted(kept_in.glob(f"{size:015d}-*"))
    replace_file(earlier[-1] if earlier else kept_in / f"{size:015d}-{day}", note, 0o644)
    days: set[str] = set()
    for place, path in enumerate(sorted(kept_in.glob("[0-9]*-[0-9]*"), reverse=True)):
        its_day = path.name.rpartition("-")[2]
        if place >= CHECKPOINTS_EACH and (its_day in days or len(days) >= CHECKPOINT_DAYS):
            path.unlink(missing_ok=True)
        days.add(its_day)


def set_aside(folder: Path) -> Path:
    """Put a damaged log aside, whole, for whoever looks into it, and return where.

    The log that is begun after it has another origin (see ``numbered``), so that no key signs two histories of one.
    """
    aside = folder.with_name(f"{folder.name}-aside-{_number_of(folder)}")
    folder.rename(aside)
    return aside


def numbered(origin: str, folder: Path) -> str:
    """Return the origin of the log in ``folder``, counting those that were set aside beside it."""
    number = _number_of(folder)
    return origin if number == 1 else f"{origin}/{number}"


def size_of(tiles: Tiles) -> int:
    """Return how many entries a log seems to have, damaged or not."""
    try:
        bundles = tiles.bundles()
        return bundles[-1] * TILE_WIDTH + len(tiles.bundle(bundles[-1])[0]) if bundles else 0
    except LogUnreadableError:
        return 0


def _number_of(folder: Path) -> int:
    return 1 + len(list(folder.parent.glob(f"{folder.name}-aside-*")))


def _mend_bundle(tiles: Tiles, number: int, before: Mended, *, is_last: bool) -> Mended:
    entries, torn_bytes = tiles.bundle(number)
    hashes = tiles.hashes(0, number)
    if torn_bytes and not is_last:
        message = f"bundle {number} of the audit log does not end with an entry"
        raise AuditDamagedError(message)
    if not len(hashes) <= len(entries) <= len(hashes) + 1:
        message = f"the audit log has {len(entries)} entries in bundle {number}, and hashes of {len(hashes)}"
        raise AuditDamagedError(message)
    state = before
    for place, data in enumerate(entries):
        state = _followed(state, data, number * TILE_WIDTH + place)
        if place < len(hashes) and hashes[place] != leaf_hash(data):
            message = f"entry {number * TILE_WIDTH + place} of the audit log is not the one that was written"
            raise AuditDamagedError(message)
    bundle, tile = tile_path(tiles.folder, ENTRIES, number), tile_path(tiles.folder, 0, number)
    os.truncate(bundle, bundle.stat().st_size - torn_bytes)
    if tile.exists():
        os.truncate(tile, len(hashes) * HASH_BYTES)
    if len(hashes) < len(entries):
        append_durably(tile, leaf_hash(entries[-1]))
    return Mended(state.size, state.prev, torn_bytes)


def _followed(before: Mended, data: bytes, index: int) -> Mended:
    """Return the state after an entry; what stands before the first one that is read is not known."""
    try:
        entry = decode_entry(data)
    except AuditRejectedError as error:
        message = f"entry {index} of the audit log: {error}"
        raise AuditDamagedError(message) from None
    is_first_read = before.size == 0 and index > 0
    if entry.index != index or (entry.prev != before.prev and not is_first_read):
        message = f"entry {index} of the audit log does not follow the one before it"
        raise AuditDamagedError(message)
    return Mended(index + 1, chain_hash(data), 0)
