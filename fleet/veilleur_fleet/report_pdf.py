"""Draw a privacy report as a PDF, for the record of processing (GDPR art. 30) and the annex of a DPIA.

Paper ──pdf_of──▶ bytes: text that can be searched and copied, in the fonts that every reader has
"""

from collections.abc import Sequence
from typing import Final

from fpdf import FPDF
from fpdf.enums import TableBordersLayout, XPos, YPos
from fpdf.fonts import FontFace

from veilleur_contracts.report_paper import Paper, check_heads
from veilleur_contracts.report_words import word

ALARM: Final = (253, 228, 225)
HEAD: Final = (16, 39, 61)
SOFT: Final = (77, 92, 107)
MARGIN_MM: Final = 16
_PLAIN: Final = str.maketrans({"→": "->", "≤": "<=", "≥": ">=", "\u202f": " ", "\u00a0": " "})


class _Pages(FPDF):
    """Pages with the box's name and their number at the foot."""

    def __init__(self, paper: Paper) -> None:
        super().__init__(format="A4")
        self._foot = _latin(f"{paper.title} · {paper.of}")
        self.core_fonts_encoding = "cp1252"
        self.set_margins(MARGIN_MM, MARGIN_MM, MARGIN_MM)
        self.set_auto_page_break(auto=True, margin=MARGIN_MM + 4)
        self.set_lang(paper.lang)
        self.set_title(f"{paper.title} · {paper.of}")
        self.set_creator("Veilleur")

    def footer(self) -> None:
        """Draw the foot of a page."""
        self.set_y(-MARGIN_MM)
        self.set_font("helvetica", size=8)
        self.set_text_color(*SOFT)
        self.cell(0, 6, f"{self._foot} · {self.page_no()}", align="C")
        self.set_text_color(0, 0, 0)


def pdf_of(paper: Paper) -> bytes:
    """Return ``paper`` as a PDF."""
    pages = _Pages(paper)
    pages.add_page()
    _say(pages, paper.title, 18, style="B")
    _say(pages, paper.of, 12)
    _say(pages, paper.note, 8.5, colour=SOFT)
    for section in paper.sections:
        _title(pages, section.title)
        rows = [((row.label, row.text), row.is_alarming) for row in section.rows]
        _table(pages, rows, (48, 130))
    _title(pages, word("checks", paper.lang))
    checks = [
        (
            (
                one.number,
                "\n".join(filter(None, (one.claim, one.unit and f"({one.unit})", one.proof))),
                one.declared,
                one.measured,
                one.outcome,
            ),
            one.differs,
        )
        for one in paper.checks
    ]
    _table(pages, checks, (11, 82, 31, 31, 23), heads=check_heads(paper.lang)[:5], size=8)
    return bytes(pages.output())


def _title(pages: FPDF, text: str) -> None:
    if pages.get_y() > pages.h - 50:
        pages.add_page()
    pages.ln(3)
    pages.start_section(_latin(text))
    _say(pages, text, 12, style="B", colour=HEAD)


def _say(pages: FPDF, text: str, size: float, *, style: str = "", colour: tuple[int, int, int] = (0, 0, 0)) -> None:
    pages.set_font("helvetica", style=style, size=size)
    pages.set_text_color(*colour)
    pages.multi_cell(0, size * 0.5, _latin(text), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    pages.set_text_color(0, 0, 0)


def _table(
    pages: FPDF,
    rows: Sequence[tuple[tuple[str, ...], bool]],
    widths: tuple[int, ...],
    *,
    heads: tuple[str, ...] = (),
    size: float = 9,
) -> None:
    pages.set_font("helvetica", size=size)
    alarming = FontFace(fill_color=ALARM)
    with pages.table(
        col_widths=widths,
        text_align="LEFT",
        line_height=size * 0.5,
        padding=1,
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        first_row_as_headings=bool(heads),
    ) as table:
        for texts, is_alarming in (*([(heads, False)] if heads else []), *rows):
            drawn = table.row(style=alarming if is_alarming else None)
            for text in texts:
                drawn.cell(_latin(text))


def _latin(text: str) -> str:
    """Return ``text`` in the letters of Windows-1252, which every PDF reader's own fonts have."""
    return text.translate(_PLAIN).encode("cp1252", "replace").decode("cp1252")
