"""Verify an audit log offline: name the first entry that is not as it was signed, or say how far it is whole.

    entries ─▶ order, chain, leaf hashes ─▶ roots ─▶ compared with every signed checkpoint, and with other copies

What the files alone cannot show, and is said: entries after the newest checkpoint are chained but not signed yet; who
holds the box's key can sign another history, which only a witness's checkpoint or another copy contradicts, and then
the first bad entry is known up to the checkpoints around it, or exactly by the other copy. A log cut short is said to
be bad from its end on. In each case what stands between the last checkpoint that agrees (``signed_size``) and the entry
that is named is chained, not proven: a forger with the key may have rewritten that too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import Final

from veilleur_contracts.audit import (
    FIRST_PREV,
    AuditRejectedError,
    BoxStarted,
    Entry,
    LogPruned,
    chain_hash,
    decode_entry,
)
from veilleur_contracts.merkle import leaf_hash, root_of
from veilleur_contracts.notes import NoteRejectedError, SignedCheckpoint, VerifierKey, read_checkpoint
from veilleur_contracts.tiles import TILE_WIDTH, LogUnreadableError, Tiles, folded

NOTES_MAX: Final = 65_536


class FaultKind(StrEnum):
    """What was done to a log."""

    EDITED = "edited"
    DROPPED = "dropped"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    FORKED = "forked"
    UNSIGNED = "unsigned"


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        first: Index of the first bad entry.
        last: The same, when it is known exactly; otherwise the first bad entry is one of ``first..last``.
        kind: What was done.
        sentence: The same for a person.
    """

    first: int
    last: int
    kind: FaultKind
    sentence: str

    @property
    def is_exact(self) -> bool:
        """Whether the first bad entry is known exactly."""
        return self.first == self.last


@dataclass(frozen=True, slots=True)
class Findings:
    """What a verification found.

    Attributes:
        kept_from: Index of the first entry that is still kept; those before were pruned.
        size: Number of entries ever written, as far as the files show.
        signed_size: Size of the newest checkpoint that the log agrees with; entries after it are not signed yet.
        checkpoints: At how many sizes a checkpoint agrees with the log.
        witnessed: For each witness, the size of the newest checkpoint it cosigned that the log agrees with.
        starts: How often the box started.
        torn_bytes: Bytes of a half-written entry at the end, which the box will cut off.
        faults: Everything wrong, the first bad entry first.
    """

    kept_from: int
    size: int
    signed_size: int
    checkpoints: int
    witnessed: dict[str, int]
    starts: int
    torn_bytes: int
    faults: tuple[Fault, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


@dataclass(slots=True)
class _Walk:
    """The entries of a log, read once from front to back; 32 bytes are kept for each."""

    kept_from: int = 0
    leaves: list[bytes] = field(default_factory=list)
    told: dict[int, int] = field(default_factory=dict)
    pruned_before: int = 0
    starts: int = 0
    torn_bytes: int = 0
    faults: list[Fault] = field(default_factory=list)

    @property
    def size(self) -> int:
        return self.kept_from + len(self.leaves)


def check_log(
    tiles: Tiles,
    log: VerifierKey,
    witnesses: Sequence[VerifierKey] = (),
    notes: Iterable[bytes] = (),
    copies: Iterable[Tiles] = (),
) -> Findings:
    """Verify the log in ``tiles``.

    Args:
        tiles: Its files.
        log: The key of the box, from elsewhere than the box: the fleet, or the enrolment.
        witnesses: Keys of the witnesses.
        notes: Checkpoints from elsewhere, such as a witness's own; those kept with the log are read as well.
        copies: Other copies of the log, to compare with.

    Raises:
        LogUnreadableError: The files cannot be read at all.
    """
    walk = _read(tiles)
    signed, unsigned = _signed(tiles, log, witnesses, notes)
    agreeing, contradicted = _compare_heads(walk, tiles, signed)
    faults = [*walk.faults, *unsigned, *_pruned_silently(walk), *_longer_tile(walk, tiles)]
    for copy in copies:
        faults.extend(_compare_copy(walk, copy))
    nearer = [fault for fault in faults if fault.kind is not FaultKind.UNSIGNED]
    faults += [
        one for one in contradicted if not any(one.first <= fault.first and fault.last <= one.last for fault in nearer)
    ]
    witnessed: dict[str, int] = {}
    for head in agreeing:
        for name in head.witnesses:
            witnessed[name] = max(head.checkpoint.size, witnessed.get(name, 0))
    return Findings(
        kept_from=walk.kept_from,
        size=walk.size,
        signed_size=max((head.checkpoint.size for head in agreeing), default=0),
        checkpoints=len({head.checkpoint.size for head in agreeing}),
        witnessed=witnessed,
        starts=walk.starts,
        torn_bytes=walk.torn_bytes,
        faults=tuple(sorted(set(faults))),
    )


def _read(tiles: Tiles) -> _Walk:
    bundles = tiles.bundles()
    walk = _Walk(kept_from=bundles[0] * TILE_WIDTH if bundles else 0)
    before: bytes | None = None
    for number in bundles:
        if number * TILE_WIDTH != walk.size:
            at = walk.size
            walk.faults.append(Fault(at, at, FaultKind.DROPPED, f"entries {at} to {number * TILE_WIDTH - 1} are gone"))
            return walk
        entries, torn_bytes = tiles.bundle(number)
        told = tiles.hashes(0, number)
        for raw in entries:
            fault = _fault_of(walk, raw, before, told)
            walk.leaves.append(leaf_hash(raw))
            if fault is not None:
                walk.faults.append(_placed(fault, raw, tiles, walk))
                return _counted_to_the_end(walk, tiles, number, len(entries))
            before = raw
        walk.torn_bytes = torn_bytes
        if torn_bytes and number != bundles[-1]:
            at = walk.size
            walk.faults.append(Fault(at, at, FaultKind.EDITED, f"entry {at} is not readable as an entry"))
            return walk
    return walk


def _fault_of(walk: _Walk, raw: bytes, before: bytes | None, told: list[bytes]) -> Fault | None:
    """Judge one entry at its place; note what it says."""
    at = walk.size
    place = at % TILE_WIDTH
    is_told = place >= len(told) or told[place] == leaf_hash(raw)
    try:
        entry = decode_entry(raw)
    except AuditRejectedError:
        return Fault(at, at, FaultKind.EDITED, f"entry {at} is no longer an entry")
    if entry.index != at:
        return Fault(at, at, FaultKind.DROPPED, f"in the place of entry {at} stands entry {entry.index}")
    if not is_told:
        return Fault(at, at, FaultKind.EDITED, f"entry {at} is not the one that its hash was kept of")
    expected = FIRST_PREV if at == 0 else None if before is None else chain_hash(before)
    if expected is not None and entry.prev != expected:
        return Fault(at - 1, at, FaultKind.EDITED, f"entry {at} was not written after the entry before it")
    _note(walk, entry)
    return None


def _note(walk: _Walk, entry: Entry) -> None:
    walk.starts += isinstance(entry.what, BoxStarted)
    if isinstance(entry.what, LogPruned):
        walk.pruned_before = max(walk.pruned_before, entry.what.before)


def _placed(fault: Fault, raw: bytes, tiles: Tiles, walk: _Walk) -> Fault:
    """Say more exactly what a fault is, from what follows it."""
    at = walk.size - 1
    following, _ = tiles.bundle(at // TILE_WIDTH)
    rest = following[at % TILE_WIDTH + 1 :] or tiles.bundle(at // TILE_WIDTH + 1)[0]
    if fault.kind is FaultKind.DROPPED:
        stands = decode_entry(raw).index
        told = tiles.hashes(0, stands // TILE_WIDTH)[stands % TILE_WIDTH :][:1]
        if told and told[0] != leaf_hash(raw):
            return Fault(at, at, FaultKind.EDITED, f"entry {at} was replaced")
        if stands < at or any(_index_of(one) == at for one in rest):
            return Fault(at, at, FaultKind.REORDERED, f"{fault.sentence}; the order was changed")
        return Fault(at, at, FaultKind.DROPPED, f"entry {at} is gone: {fault.sentence}")
    if fault.is_exact or not rest:
        return fault
    is_intact = _prev_of(rest[0]) == chain_hash(raw)
    bad = at - 1 if is_intact else at
    return Fault(bad, bad, FaultKind.EDITED, f"entry {bad} is not the one that its neighbours were written with")


def _counted_to_the_end(walk: _Walk, tiles: Tiles, number: int, held: int) -> _Walk:
    """Add the leaves that stand after a fault, unjudged, so that the size is right."""
    entries, _ = tiles.bundle(number)
    walk.leaves += [leaf_hash(raw) for raw in entries[walk.size - number * TILE_WIDTH : held]]
    for later in tiles.bundles():
        if later > number and later * TILE_WIDTH == walk.size:
            walk.leaves += [leaf_hash(raw) for raw in tiles.bundle(later)[0]]
    return walk


def _index_of(raw: bytes) -> int | None:
    try:
        return decode_entry(raw).index
    except AuditRejectedError:
        return None


def _prev_of(raw: bytes) -> str | None:
    try:
        return decode_entry(raw).prev
    except AuditRejectedError:
        return None


def _signed(
    tiles: Tiles, log: VerifierKey, witnesses: Sequence[VerifierKey], notes: Iterable[bytes]
) -> tuple[list[SignedCheckpoint], list[Fault]]:
    """Return the checkpoints that are the log's, by size, and a fault for each that is not."""
    heads: list[SignedCheckpoint] = []
    faults = []
    for count, note in enumerate((*tiles.notes(), *notes)):
        if count >= NOTES_MAX:
            message = f"more than {NOTES_MAX} checkpoints; give fewer"
            raise LogUnreadableError(message)
        try:
            heads.append(read_checkpoint(note, log, witnesses))
        except NoteRejectedError as error:
            faults.append(Fault(0, 0, FaultKind.UNSIGNED, str(error)))
    return sorted(heads, key=lambda head: head.checkpoint.size), faults


def _compare_heads(
    walk: _Walk, tiles: Tiles, heads: list[SignedCheckpoint]
) -> tuple[list[SignedCheckpoint], list[Fault]]:
    """Return the checkpoints the entries agree with, and a fault for the first one they do not."""
    agreeing = []
    forked: Fault | None = None
    short: Fault | None = None
    good = 0
    tree = _Tree(walk, tiles)
    for size, grouped in groupby(heads, key=lambda head: head.checkpoint.size):
        same_size = list(grouped)
        if size > walk.size:
            sentence = f"the log ends at {walk.size} entries, and {size} were signed"
            short = short or Fault(walk.size, walk.size, FaultKind.TRUNCATED, sentence)
        if size > walk.size or not tree.can_tell(size):
            continue
        root = tree.root(size)
        agree = [head for head in same_size if head.checkpoint.root == root]
        agreeing += agree
        if len(agree) == len(same_size):
            good = size if forked is None else good
        elif size > good:
            sentence = f"a checkpoint signed at {size} is of other entries, and those signed at {good} are of these"
            forked = forked or Fault(good, size - 1, FaultKind.FORKED, sentence)
    return agreeing, [fault for fault in (forked, short) if fault is not None]


class _Tree:
    """Roots of a log: from the entries where they are kept, from the tiles above where they were pruned."""

    def __init__(self, walk: _Walk, tiles: Tiles) -> None:
        self._walk = walk
        self._tiles = tiles
        self._known: dict[tuple[int, int], bytes] = {}

    def can_tell(self, size: int) -> bool:
        return size >= self._walk.kept_from or size % TILE_WIDTH == 0

    def root(self, size: int) -> bytes | None:
        try:
            return root_of(size, self._subtree)
        except LogUnreadableError:
            return None

    def _subtree(self, level: int, index: int) -> bytes:
        first = index << level
        if first < self._walk.kept_from:
            return self._above(level, index)
        if level == 0:
            return self._walk.leaves[first - self._walk.kept_from]
        if (level, index) not in self._known:
            half = (self._subtree(level - 1, 2 * index), self._subtree(level - 1, 2 * index + 1))
            self._known[level, index] = folded(list(half))
        return self._known[level, index]

    def _above(self, level: int, index: int) -> bytes:
        """Return a subtree that begins before the first entry kept: by its tile, or by halves."""
        if ((index + 1) << level) <= self._walk.kept_from:
            return self._tiles.subtree(level, index)
        return folded([self._subtree(level - 1, 2 * index), self._subtree(level - 1, 2 * index + 1)])


def _pruned_silently(walk: _Walk) -> list[Fault]:
    if walk.kept_from == 0 or walk.pruned_before >= walk.kept_from or walk.faults:
        return []
    sentence = f"entries 0 to {walk.kept_from - 1} are gone, and no entry says that they were pruned"
    return [Fault(walk.pruned_before, walk.pruned_before, FaultKind.DROPPED, sentence)]


def _longer_tile(walk: _Walk, tiles: Tiles) -> list[Fault]:
    """Find the hashes of entries that are no longer there."""
    number = walk.size // TILE_WIDTH
    told = len(tiles.hashes(0, number))
    if walk.faults or told <= walk.size % TILE_WIDTH:
        return []
    size = number * TILE_WIDTH + told
    sentence = f"the log ends at {walk.size} entries, and the hashes of {size} were kept"
    return [Fault(walk.size, walk.size, FaultKind.TRUNCATED, sentence)]


def _compare_copy(walk: _Walk, copy: Tiles) -> list[Fault]:
    """Find the first entry that another copy has otherwise."""
    for number in copy.bundles():
        for place, raw in enumerate(copy.bundle(number)[0]):
            at = number * TILE_WIDTH + place
            if walk.kept_from <= at < walk.size and walk.leaves[at - walk.kept_from] != leaf_hash(raw):
                return [Fault(at, at, FaultKind.FORKED, f"the copy has another entry {at}")]
    return []
