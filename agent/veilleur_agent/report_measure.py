"""Look at the box itself for its privacy report: models, kept images, file modes. Reads, and changes nothing.

Everything is bounded: what is longer or more than a box of ours could hold is measured up to the bound.
"""

import hashlib
import stat
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from veilleur_agent.clip_facts import measure
from veilleur_contracts.ids import is_slug
from veilleur_contracts.report import ModelFacts, RetentionFacts
from veilleur_models.card import CARD_FILE, CARD_LIMIT_BYTES, FILE_LIMIT_BYTES, Card, card_of
from veilleur_models.errors import ModelRejectedError

WEIGHTS_FILE: Final = "model.bin"
MODELS_MAX: Final = 16
LABELS_MAX: Final = 16
ITEMS_MAX: Final = 1_000_000
READ_BYTES: Final = 1 << 20
OTHERS_MAY: Final = 0o077
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Private:
    """Something that only its owner may open, and what the report calls it."""

    name: str
    path: Path


def models_in(store: Path, in_use: str) -> tuple[ModelFacts, ...]:
    """Return what each model in ``store`` is, by its card and by its bytes."""
    try:
        folders = sorted(path for path in islice(store.iterdir(), ITEMS_MAX) if path.is_dir() and is_slug(path.name))
    except OSError:
        return ()
    held = [path for path in folders if (path / CARD_FILE).exists() or any(path.glob("*.bin"))]
    used_first = sorted(held, key=lambda path: path.name != in_use)
    return tuple(_model(path, is_used=path.name == in_use) for path in used_first[:MODELS_MAX])


def retention_in(clips: Path, freezes: Path, now_ms: int) -> RetentionFacts:
    """Return what lies in the store of clips; a store that cannot be read counts as one item of unknown age.

    Args:
        clips: The store.
        freezes: What is kept for justice.
        now_ms: The clock.
    """
    try:
        facts = measure(clips, freezes, now_ms)
    except OSError:
        return RetentionFacts(has_store=True, items=1, size_bytes=0, oldest_ms=0, frozen=0)
    oldest_ms = None if facts.oldest_s is None else max(0, now_ms - round(facts.oldest_s * 1000))
    return RetentionFacts(clips.is_dir(), len(facts.lain), facts.size_bytes, oldest_ms, len(facts.frozen))


def open_files(privates: tuple[Private, ...]) -> tuple[str, ...]:
    """Name those of ``privates`` that others may open; one that is not there is closed."""
    found = []
    for private in privates:
        try:
            mode = stat.S_IMODE(private.path.stat().st_mode)
        except OSError:
            continue
        if mode & OTHERS_MAY:
            found.append(private.name)
    return tuple(found)


def _model(folder: Path, *, is_used: bool) -> ModelFacts:
    sha256 = _sha256_of(folder / WEIGHTS_FILE)
    card = _card(folder / CARD_FILE)
    if card is None:
        return ModelFacts(
            folder.name,
            UNKNOWN,
            (),
            biometric_capable=True,  # nobody can say that it is not
            sha256=sha256,
            declared_sha256=None,
            in_use=is_used,
        )
    proof = None if card.built is None else card.built.files.get(WEIGHTS_FILE)
    labels = tuple(one.label for one in card.labels)[:LABELS_MAX]
    declared = None if proof is None else proof.sha256
    return ModelFacts(folder.name, card.purpose, labels, card.biometric_capable, sha256, declared, is_used)


def _card(path: Path) -> Card | None:
    try:
        with path.open("rb") as file:
            return card_of(file.read(CARD_LIMIT_BYTES + 1), path.parent.name)
    except (OSError, ModelRejectedError):
        return None


def _sha256_of(path: Path) -> str | None:
    digest, left = hashlib.sha256(), FILE_LIMIT_BYTES
    try:
        with path.open("rb") as file:
            while left > 0 and (data := file.read(min(READ_BYTES, left))):
                digest.update(data)
                left -= len(data)
    except OSError:
        return None
    return digest.hexdigest()
