"""Audit logs for tests, written without the writer, so that a forger's tools can be tried on them too."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from veilleur_contracts.audit import (
    FIRST_PREV,
    BoxStarted,
    ClockJumped,
    Entry,
    What,
    chain_hash,
    decode_entry,
    encode_entry,
)
from veilleur_contracts.merkle import leaf_hash, root_of, subtrees_of
from veilleur_contracts.notes import BY_LOG, BY_WITNESS, Checkpoint, sign_checkpoint, verifier_of
from veilleur_contracts.tiles import ENTRIES, TILE_WIDTH, folded, framed, tile_path

ORIGIN = "veilleur/ville/gare-01/audit"
BOX_KEY = Ed25519PrivateKey.from_private_bytes(b"b" * 32)
LOG = verifier_of(ORIGIN, BOX_KEY, BY_LOG)
DPO_KEYS = {name: Ed25519PrivateKey.from_private_bytes(name[-1:].encode() * 32) for name in ("dpo-ville", "dpo-agglo")}
WITNESSES = tuple(verifier_of(name, key, BY_WITNESS) for name, key in DPO_KEYS.items())
AT_MS = 1_777_636_800_000


def happenings(count: int, mark: int = 0) -> list[What]:
    """Return ``count`` things that happened; another mark gives another history."""
    return [BoxStarted("0.1.0", "signed"), *(ClockJumped(mark * 1000 + one) for one in range(count))][:count]


def chained(whats: Sequence[What], after: Sequence[bytes] = ()) -> list[bytes]:
    """Return the entries of ``after`` and then those of ``whats``, each holding the hash of the one before."""
    entries = list(after)
    for what in whats:
        prev = chain_hash(entries[-1]) if entries else FIRST_PREV
        entries.append(encode_entry(Entry(len(entries), AT_MS + 1000 * len(entries), prev, what)))
    return entries


def changed_entry(raw: bytes, **changes) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(decode_entry(raw), **changes), order="sorted")


def write_bundles(folder: Path, entries: Sequence[bytes]) -> None:
    """Write the entries alone, as somebody who knows nothing of hashes would."""
    shutil.rmtree(folder / "tile" / ENTRIES, ignore_errors=True)
    for start in range(0, len(entries), TILE_WIDTH):
        path = tile_path(folder, ENTRIES, start // TILE_WIDTH)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(framed(raw) for raw in entries[start : start + TILE_WIDTH]))


def write_tiles(folder: Path, entries: Sequence[bytes]) -> None:
    """Write the hashes of the entries, at every level."""
    for path in (folder / "tile").glob("[0-9]*"):
        shutil.rmtree(path)
    hashes = [leaf_hash(raw) for raw in entries]
    level = 0
    while hashes:
        for start in range(0, len(hashes), TILE_WIDTH):
            path = tile_path(folder, level, start // TILE_WIDTH)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(hashes[start : start + TILE_WIDTH]))
        whole = len(hashes) // TILE_WIDTH
        hashes = [folded(hashes[TILE_WIDTH * one : TILE_WIDTH * (one + 1)]) for one in range(whole)]
        level += 1


def head_of(entries: Sequence[bytes], size: int, key: Ed25519PrivateKey = BOX_KEY) -> bytes:
    """Return the signed checkpoint of the first ``size`` entries."""
    root = root_of(size, subtrees_of([leaf_hash(raw) for raw in entries[:size]]))
    return sign_checkpoint(Checkpoint(ORIGIN, size, root), key)


def write_log(folder: Path, entries: Sequence[bytes], signed_at: Sequence[int] = ()) -> None:
    """Write a whole log, with a checkpoint at each size of ``signed_at``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_bundles(folder, entries)
    write_tiles(folder, entries)
    (folder / "checkpoints").mkdir(exist_ok=True)
    for size in signed_at:
        (folder / "checkpoints" / f"{size:015d}-20260501").write_bytes(head_of(entries, size))
    (folder / "key").write_text(f"{LOG}\n", encoding="ascii")
