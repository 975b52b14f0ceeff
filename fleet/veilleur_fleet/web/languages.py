"""The page in French and English: catalogues read once at start, and which one a reader wants."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import Locale
from babel.dates import format_date, format_time
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent

from veilleur_contracts.clock import datetime_of
from veilleur_contracts.french import spaced
from veilleur_fleet.errors import SettingsRejectedError

KNOWN: Final = ("fr", "en")
DEFAULT: Final = "fr"
ACCEPT_CHARACTERS_MAX: Final = 200
_FORMS: Final = ("one", "other")
"""The plural forms of both languages, in the order of their catalogues."""


@dataclass(frozen=True, slots=True)
class Language:
    """One language of the page.

    Attributes:
        code: As in ``lang``.
        name: What it calls itself.
        words: Sentences of the program, by the English they are written in.
        locale: How it writes numbers and dates.
        zone: Where its readers live.
    """

    code: str
    name: str
    words: Mapping[str, str]
    locale: Locale
    zone: tzinfo

    def gettext(self, sentence: str) -> str:
        """Return ``sentence`` in this language."""
        return self.words.get(sentence, sentence)

    def ngettext(self, one: str, many: str, count: int) -> str:
        """Return ``one`` or ``many`` in this language, as ``count`` asks."""
        form = self.locale.plural_form(count)
        return self.words.get(f"{one}\0{'one' if form == 'one' else 'other'}", one if form == "one" else many)

    def number(self, value: float) -> str:
        """Write a number."""
        return format_decimal(value, locale=self.locale)

    def percent(self, share: float) -> str:
        """Write a share, 0 to 1, as whole percent; what is not everything is never rounded up to it."""
        return format_percent(math.floor(share * 100 + 1e-9) / 100, locale=self.locale)

    def time(self, at_s: float) -> str:
        """Write a time of the day, with seconds."""
        return format_time(self._local(at_s), "HH:mm:ss", locale=self.locale)

    def minute(self, at_s: float) -> str:
        """Write a time of the day."""
        return format_time(self._local(at_s), "HH:mm", locale=self.locale)

    def day(self, at_s: float) -> str:
        """Write a day."""
        return format_date(self._local(at_s), "d MMM", locale=self.locale)

    def _local(self, at_s: float) -> datetime:
        return datetime_of(round(at_s * 1000)).astimezone(self.zone)


def languages_of(zone: str) -> dict[str, Language]:
    """Read every catalogue; ``zone`` is the time zone of the readers, like ``Europe/Paris``.

    Raises:
        SettingsRejectedError: There is no such zone on this machine.
    """
    try:
        where = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = f"{zone!r} is no time zone of this machine: give one like Europe/Paris, or install tzdata"
        raise SettingsRejectedError(message) from None
    locales = {code: Locale.parse(code) for code in KNOWN}
    return {
        code: Language(code, locale.get_display_name(code) or code, _words_of(code), locale, where)
        for code, locale in locales.items()
    }


def chosen(languages: Mapping[str, Language], asked: str | None, accepted: str | None) -> Language:
    """Return the language a reader wants.

    Args:
        languages: Those there are.
        asked: What the address says (``?lang=``), which wins.
        accepted: The reader's ``Accept-Language``.
    """
    if asked is not None and asked in languages:
        return languages[asked]
    for code, _ in sorted(_weighted(accepted or ""), key=lambda pair: -pair[1]):
        if code in languages:
            return languages[code]
    return languages[DEFAULT]


def _weighted(accepted: str) -> list[tuple[str, float]]:
    """Read ``fr-FR,fr;q=0.9,en;q=0.8``; what cannot be read weighs nothing."""
    found = []
    for part in accepted[:ACCEPT_CHARACTERS_MAX].split(","):
        code, _, weight = part.strip().partition(";q=")
        try:
            found.append((code.partition("-")[0].strip().lower(), float(weight or 1)))
        except ValueError:
            continue
    return found


@cache
def _words_of(code: str) -> Mapping[str, str]:
    """Read the catalogue of a language, once: it is a part of the program."""
    path = resources.files("veilleur_fleet") / "locales" / code / "LC_MESSAGES" / "fleet.po"
    words: dict[str, str] = {}
    with path.open("rb") as file:
        for message in read_po(file, locale=code):
            if not message.id or message.fuzzy:
                continue
            if isinstance(message.id, str):
                words[message.id] = str(message.string)
            else:
                forms = zip(_FORMS, message.string or (), strict=True)
                words |= {f"{message.id[0]}\0{form}": text for form, text in forms}
    if code == "fr":
        words = {sentence: spaced(text) for sentence, text in words.items()}
    return MappingProxyType(words)
