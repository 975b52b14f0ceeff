"""Sentences of the commands in French and English: gettext catalogues, read where they are asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from babel.messages.pofile import read_po

from veilleur_contracts.french import spaced
from veilleur_fleet.errors import SettingsRejectedError

KNOWN: Final = ("fr", "en")


@dataclass(frozen=True, slots=True)
class Texts:
    """One catalogue.

    Attributes:
        code: Its language, as in ``lang``.
        words: Sentences by the English they are written in.
    """

    code: str
    words: Mapping[str, str]

    def say(self, sentence: str, /, **values: object) -> str:
        """Return ``sentence`` in this language, with ``values`` in their places."""
        return self.words.get(sentence, sentence).format(**values)


def texts_of(domain: str, code: str) -> Texts:
    """Read the catalogue ``domain`` of the language ``code``.

    Raises:
        SettingsRejectedError: There is no such language.
    """
    if code not in KNOWN:
        message = f"there is no language {code[:20]!r}; give one of {', '.join(KNOWN)}"
        raise SettingsRejectedError(message)
    path = resources.files("veilleur_fleet") / "locales" / code / "LC_MESSAGES" / f"{domain}.po"
    with path.open("rb") as file:
        catalogue = read_po(file, locale=code)
    said = {str(one.id): str(one.string) for one in catalogue if one.id and one.string and not one.fuzzy}
    return Texts(code, {sentence: spaced(words) for sentence, words in said.items()} if code == "fr" else said)
