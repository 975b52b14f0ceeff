"""The models Veilleur knows: their cards as committed, before anything is fetched."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from veilleur_models.card import CARD_FILE, CARD_LIMIT_BYTES, Card, card_of
from veilleur_models.errors import ModelRejectedError

DEFAULT_DETECTOR = "nanodet-g-640x384"
"""Finds road users on a box, unless the site names another."""

FACE_DETECTOR = "centerface"
"""Finds faces, so that they are covered."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A catalogue card and the very text it was read from (the built card repeats it)."""

    card: Card
    text: str


def catalogue_directory() -> Path:
    """Where the cards lie: in the installed package, else beside it in the repository."""
    package = Path(__file__).resolve().parent
    installed = package / "cards"
    return installed if installed.is_dir() else package.parent / "catalogue"


def read_catalogue(directory: Path) -> dict[str, Entry]:
    """Read every card, by model name, in alphabetical order.

    Raises:
        ModelRejectedError: A card does not hold, or lies in a folder of another name.
    """
    entries: dict[str, Entry] = {}
    if not directory.is_dir():
        raise ModelRejectedError(f"the catalogue of models is missing from {directory}: install Veilleur again")
    for path in sorted(directory.glob(f"*/{CARD_FILE}")):
        if path.stat().st_size > CARD_LIMIT_BYTES:
            raise ModelRejectedError(
                f"catalogue/{path.parent.name}/{CARD_FILE} is larger than {CARD_LIMIT_BYTES} bytes"
            )
        content = path.read_bytes()
        card = card_of(content, f"catalogue/{path.parent.name}/{CARD_FILE}")
        if card.name != path.parent.name:
            raise ModelRejectedError(f"catalogue/{path.parent.name}/{CARD_FILE} calls its model '{card.name}'")
        entries[card.name] = Entry(card, content.decode())
    return entries


def chosen_of(entries: dict[str, Entry], names: Sequence[str]) -> list[Entry]:
    """Return the entries called ``names``, all of them when there are none.

    Raises:
        ModelRejectedError: A name is not in the catalogue.
    """
    unknown = [name for name in names if name not in entries]
    if unknown:
        raise ModelRejectedError(f"'{unknown[0]}' is not in the catalogue: choose among {', '.join(entries)}")
    return [entries[name] for name in (names or entries)]
