"""Write the tables of checks into ``docs/privacy.md``, between its marks; ``make docs`` runs it.

CHECKS ──▶ <!-- checks:fr --> … <!-- end -->  and  <!-- checks:en --> … <!-- end -->
"""

import re
import sys
from pathlib import Path
from typing import Final

from veilleur_contracts.report_checks import CHECKS, Lang
from veilleur_contracts.report_words import word

_MARKED: Final = re.compile(r"(<!-- checks:(fr|en) -->\n).*?(<!-- end -->)", re.DOTALL)


def table_of(lang: Lang) -> str:
    """Return the checks as a table, each with the file of tests that proves it."""
    heads = " | ".join(word(key, lang) for key in ("check", "claim", "proof"))
    rows = (f"| {one.number} | {one.claim(lang)} | [`{one.proof}`](../{one.proof}) |" for one in CHECKS)
    return "\n".join((f"| {heads} |", "|---|---|---|", *rows)) + "\n"


def with_checks(text: str) -> str:
    """Return a document with its tables of checks as they are now."""

    def renewed(found: "re.Match[str]") -> str:
        return found[1] + table_of("fr" if found[2] == "fr" else "en") + found[3]

    return _MARKED.sub(renewed, text)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_checks(path.read_text(encoding="utf-8")), encoding="utf-8")
