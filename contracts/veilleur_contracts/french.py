"""Space French as it is printed: ``: ; ! ?`` and « » keep to their word at the end of a line."""

import re
from typing import Final

NARROW: Final = "\u202f"
"""Narrow no-break space, as Unicode's French locale data (CLDR) writes it."""
_BEFORE: Final = re.compile(r"(?<=\S) (?=[:;!?»](?:\s|$|[.,)]))")
_AFTER: Final = re.compile(r"(?<=«) ")


def spaced(text: str) -> str:
    """Return ``text`` with the spaces of French punctuation made narrow and unbreakable."""
    return _AFTER.sub(NARROW, _BEFORE.sub(NARROW, text))
