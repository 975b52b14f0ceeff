"""Small cards, raw outputs and packages to test models with, and the real ones when they are built."""

import hashlib
import os
import re
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from veilleur_models.average_precision import Found, Truth
from veilleur_models.build import build
from veilleur_models.cache import ModelCache
from veilleur_models.card import Card
from veilleur_models.catalogue import Entry, catalogue_directory, read_catalogue
from veilleur_models.package import ModelPackage, load
from veilleur_models.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
BINS = 11


class SilentProgress:
    """Watches a build and remembers what it was told."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, model: str, doing: str) -> None:
        self.steps.append(f"{model}: {doing}")

    def done(self, model: str) -> None:
        self.steps.append(f"{model}: done")

    def arrived(self, model: str, size_bytes: int) -> None:
        """How much has arrived depends on the machine."""


def entry_of(name: str) -> Entry:
    return read_catalogue(catalogue_directory())[name]


def card_of_model(name: str) -> Card:
    return entry_of(name).card


def built_sprite(folder: Path) -> ModelCache:
    """Build the sprite package, which needs no network, into ``folder``."""
    cache = ModelCache(folder)
    build([entry_of("sprite")], cache, Settings(folder, {}), SilentProgress())
    return cache


def shared_cache() -> Path:
    """The cache that ``make models`` fills."""
    return Path(os.environ.get("VEILLEUR_MODEL_CACHE", ROOT / ".cache" / "models"))  # noqa: TID251 - as make sets it


def real_package(name: str) -> ModelPackage:
    """Open a built network from the shared cache, or skip."""
    if not (shared_cache() / name / "card.toml").is_file():
        pytest.skip(f"{name} is not built: run 'make models' first")
    return load(shared_cache() / name)


def edit_card(directory: Path, old: str, new: str) -> None:
    """Change a package's card as an attacker or a slip would."""
    path = directory / "card.toml"
    text = path.read_text()
    assert re.search(old, text), f"the card has nothing like {old}"
    path.write_text(re.sub(old, new, text, count=1))


def rehash(directory: Path, name: str) -> None:
    """Make the card vouch for ``name`` as it lies there now."""
    path = directory / "card.toml"
    digest = hashlib.sha256((directory / name).read_bytes()).hexdigest()
    path.write_text(
        re.sub(rf'(files\."{re.escape(name)}"\]\nsha256 = ")[0-9a-f]{{64}}', rf"\g<1>{digest}", path.read_text())
    )


def nanodet_outputs(card: Card) -> dict[str, npt.NDArray[np.float32]]:
    """Raw outputs of an empty street: every score 0, every distance spread evenly over its bins."""
    return {output.name: np.zeros(output.shape, dtype=np.float32) for output in card.outputs}


def see(
    outputs: dict[str, npt.NDArray[np.float32]],
    card: Card,
    *,
    stride: int,
    cell: tuple[int, int],
    channel: int,
    score: float,
    reach: tuple[int, int, int, int],
) -> None:
    """Put one object into NanoDet's raw outputs.

    Args:
        outputs: What ``nanodet_outputs`` made.
        card: Of a NanoDet.
        stride: 8, 16 or 32.
        cell: Column and row of the cell that sees it.
        channel: Which label's score.
        score: 0..1.
        reach: Distances to the left, top, right and bottom edge in strides, 0..10; a sharp peak in one bin each.
    """
    index = cell[1] * (card.input.width // stride) + cell[0]
    outputs[f"scores_{stride}"][0, index, channel] = score
    for side, bin_ in enumerate(reach):
        outputs[f"edges_{stride}"][0, index, side * BINS + bin_] = 60.0


def renamed(card: Card, **changes: object) -> Card:
    return msgspec.structs.replace(card, **changes)


def truth_of(*objects: tuple[float, float, float, float, int], crowds: tuple[int, ...] = ()) -> Truth:
    """Truth from ``x1, y1, x2, y2, label``; ``crowds`` are positions of crowd regions."""
    values = np.array(objects, dtype=np.float32).reshape(-1, 5)
    is_crowd = np.zeros(len(objects), dtype=bool)
    is_crowd[list(crowds)] = True
    return Truth(values[:, :4], values[:, 4].astype(np.int8), is_crowd)


def found_of(*objects: tuple[float, float, float, float, int, float]) -> Found:
    """Detections from ``x1, y1, x2, y2, label, score``."""
    values = np.array(objects, dtype=np.float32).reshape(-1, 6)
    return Found(values[:, :4], values[:, 5], values[:, 4].astype(np.int8))
