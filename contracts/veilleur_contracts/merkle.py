"""Hash trees as RFC 6962 has them: a root for every size, and proofs that one tree is the beginning of another.

    leaf = SHA-256(0x00 ‖ entry)        node = SHA-256(0x01 ‖ left ‖ right)

Only hashes of *whole* subtrees are asked for, of 2**level leaves from ``index * 2**level`` on: those never change as
the tree grows, so they can be kept in tiles and read back in any order.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

Subtree = Callable[[int, int], bytes]
"""Gives the hash of the whole subtree at (level, index); 32 bytes."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two subtrees side by side (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(size: int, subtree: Subtree) -> bytes:
    """Return the root of the first ``size`` leaves; asks for at most 64 subtrees."""
    return EMPTY_ROOT if size == 0 else _range_hash(0, size, subtree)


class Frontier:
    """The right edge of a growing tree: what is needed to add leaves and tell the root; at most 48 hashes.

    Args:
        size: How many leaves there are.
        hashes: The whole subtrees they make, the largest first, as ``frontier_of`` gives them.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        self.size = size
        self._hashes = list(hashes)

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The whole subtrees, the largest first."""
        return tuple(self._hashes)

    def append(self, leaf: bytes) -> None:
        """Add the hash of one entry."""
        self._hashes.append(leaf)
        size = self.size
        while size & 1:
            right = self._hashes.pop()
            self._hashes.append(node_hash(self._hashes.pop(), right))
            size >>= 1
        self.size += 1

    def root(self) -> bytes:
        """Return the root of all leaves so far."""
        if not self._hashes:
            return EMPTY_ROOT
        *left, root = self._hashes
        for one in reversed(left):
            root = node_hash(one, root)
        return root


def frontier_of(size: int, subtree: Subtree) -> tuple[bytes, ...]:
    """Return the whole subtrees that ``size`` leaves make, the largest first."""
    found, start = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            found.append(subtree(level, start >> level))
            start += 1 << level
    return tuple(found)


def consistency_proof(old_size: int, new_size: int, subtree: Subtree) -> tuple[bytes, ...]:
    """Return what shows that the tree of ``old_size`` is the beginning of the one of ``new_size`` (RFC 6962 §2.1.2).

    Args:
        old_size: 1..``new_size``.
        new_size: Size of the later tree.
        subtree: Hashes of the later tree.
    """
    if not 0 < old_size < new_size:
        return ()
    return _consistency(old_size, 0, new_size, subtree, is_whole=True)


def is_consistent(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Tell whether ``proof`` shows the old tree to be the beginning of the new one (RFC 9162 §2.1.4.2)."""
    if old_size == new_size:
        return old_root == new_root and not proof
    if old_size == 0:
        return old_root == EMPTY_ROOT and not proof
    if not 0 < old_size < new_size or not proof:
        return False
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old, new = path[0], path[0]
    for step in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, step)
        node, last = node >> 1, last >> 1
    return last == 0 and old == old_root and new == new_root


def subtrees_of(leaves: Sequence[bytes]) -> Subtree:
    """Return the subtrees of a tree whose leaf hashes are all in memory; for tests and small logs."""
    known: dict[tuple[int, int], bytes] = {}

    def subtree(level: int, index: int) -> bytes:
        if level == 0:
            return leaves[index]
        if (level, index) not in known:
            known[level, index] = node_hash(subtree(level - 1, 2 * index), subtree(level - 1, 2 * index + 1))
        return known[level, index]

    return subtree


def _split(size: int) -> int:
    """Return the largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def _range_hash(start: int, size: int, subtree: Subtree) -> bytes:
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return subtree(level, start >> level)
    left = _split(size)
    return node_hash(_range_hash(start, left, subtree), _range_hash(start + left, size - left, subtree))


def _consistency(old: int, start: int, size: int, subtree: Subtree, *, is_whole: bool) -> tuple[bytes, ...]:
    if old == size:
        return () if is_whole else (_range_hash(start, size, subtree),)
    left = _split(size)
    if old <= left:
        inner = _consistency(old, start, left, subtree, is_whole=is_whole)
        return (*inner, _range_hash(start + left, size - left, subtree))
    inner = _consistency(old - left, start + left, size - left, subtree, is_whole=False)
    return (*inner, _range_hash(start, left, subtree))
