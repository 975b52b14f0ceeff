"""Follow a box's audit by its parts: what changed, forked, was cut or put back is found entry by entry. Pure.

Head (right edge of the copy) + AuditPart ──follow──▶ Head, fresh entries        or CopyFaultError(where, what)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from veilleur_contracts.audit import FIRST_PREV, AuditRejectedError, chain_hash, decode_entry
from veilleur_contracts.audit_check import Fault, FaultKind
from veilleur_contracts.audit_copy import AuditPart, PartRejectedError
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.merkle import Frontier, leaf_hash
from veilleur_contracts.notes import Checkpoint, NoteRejectedError, read_checkpoint, read_verifier

Held = Callable[[int, int], Sequence[bytes]]
"""Gives the entries that are held from one index up to another, without it."""


class CopyFaultError(RejectedError):
    """A genuine part that contradicts what is held: the log was changed, cut or forked.

    Attributes:
        fault: What was done, and where.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.sentence)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Head:
    """How far a copy goes; where it ends, a head of that size was signed.

    Attributes:
        kept_from: Index of its first entry.
        size: Index after its last.
        prev: SHA-256 of the last entry; None: nobody knows, as it was pruned.
        frontier: The tree's right edge.
    """

    kept_from: int = 0
    size: int = 0
    prev: str | None = FIRST_PREV
    frontier: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Followed:
    """What a part brought.

    Attributes:
        head: Where the copy stands now.
        fresh: Its new entries, from the former size on.
        signed: The head it was signed with.
    """

    head: Head
    fresh: tuple[bytes, ...]
    signed: Checkpoint


def follow(head: Head, part: AuditPart, *, held: Held, known: Callable[[int], bytes | None]) -> Followed | None:
    """Follow a log by one part.

    Args:
        head: Where the copy stands.
        part: What came.
        held: The entries that are held.
        known: The root that was signed at a size; None: none was.

    Returns:
        None when there is a hole between the copy and the part, and the box must say what is missing.

    Raises:
        PartRejectedError: Its entries or its note are none, or not of the key it names.
        CopyFaultError: It is genuine and contradicts what is held.
    """
    signed = _signed_by(part)
    if part.before and part.first > head.size:  # what lies between is pruned for ever
        head = Head(part.first, part.first, None, part.before)
    if part.first > head.size or part.first < head.kept_from:
        return None
    again = part.entries[: head.size - part.first]
    _compare(part.first, again, held)
    fresh = part.entries[len(again) :]
    tree, prev = Frontier(head.size, head.frontier), head.prev
    for raw in fresh:
        prev = _next(raw, tree.size, prev)
        tree.append(leaf_hash(raw))
    if signed.size < head.size and known(signed.size) != signed.root:
        sentence = f"a head of {signed.size} entries was signed after one of {head.size}: the log was put back"
        raise CopyFaultError(Fault(signed.size, head.size - 1, FaultKind.TRUNCATED, sentence))
    if signed.size >= head.size and tree.root() != signed.root:
        sentence = f"the head signed at {signed.size} is of other entries than those held and told"
        raise CopyFaultError(Fault(head.kept_from, max(signed.size - 1, 0), FaultKind.FORKED, sentence))
    return Followed(Head(head.kept_from, tree.size, prev, tree.hashes), fresh, signed)


def _compare(first: int, again: Sequence[bytes], held: Held) -> None:
    """Refuse entries that are held otherwise."""
    for index, (theirs, ours) in enumerate(zip(again, held(first, first + len(again)), strict=True), first):
        if theirs != ours:
            raise CopyFaultError(Fault(index, index, FaultKind.FORKED, f"the box now tells another entry {index}"))


def _signed_by(part: AuditPart) -> Checkpoint:
    """Return the head that a part is signed with."""
    try:
        signed = read_checkpoint(part.note, read_verifier(part.key)).checkpoint
    except NoteRejectedError as error:
        message = f"a part of an audit log: {error}"
        raise PartRejectedError(message) from None
    if signed.size != part.upto:
        message = f"a part of an audit log ends at {part.upto} and is signed at {signed.size}"
        raise PartRejectedError(message)
    return signed


def _next(raw: bytes, index: int, prev: str | None) -> str:
    """Check that ``raw`` is entry ``index`` and follows the one before; return its hash."""
    try:
        entry = decode_entry(raw)
    except AuditRejectedError as error:
        message = f"entry {index} of an audit log: {error}"
        raise PartRejectedError(message) from None
    if entry.index != index:
        fault = Fault(index, index, FaultKind.DROPPED, f"in the place of entry {index} stands entry {entry.index}")
        raise CopyFaultError(fault)
    if prev is not None and entry.prev != prev:
        sentence = f"entry {index} was not written after the entry {index - 1} that is held"
        raise CopyFaultError(Fault(index, index, FaultKind.FORKED, sentence))
    return chain_hash(raw)
