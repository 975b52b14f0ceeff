"""``veilleur-agent report``: show the newest privacy report of a box, verified with the key of its audit."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from veilleur_agent.atomic import replace_file
from veilleur_agent.courier import REPORT_FILE
from veilleur_agent.settings import settings_of
from veilleur_contracts.envelope import read_envelope
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.notes import read_verifier
from veilleur_contracts.policy_document import document_sha256
from veilleur_contracts.report import ENVELOPE_BYTES_MAX, Report, read_report
from veilleur_contracts.report_checks import judged
from veilleur_contracts.report_html import html_of
from veilleur_contracts.report_paper import Paper, check_heads, paper_of

KEY_CHARACTERS_MAX = 512


class NoReportError(RejectedError):
    """There is no report to be shown."""


def show_report(
    *,
    state: Annotated[Path | None, typer.Option("--state", help="Folder of the box.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON and nothing else.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write it as one HTML page instead.")] = None,
    lang: Annotated[Literal["fr", "en"], typer.Option("--lang", envvar="VEILLEUR_LANG", help="Of its words.")] = "en",
) -> None:
    """Show what this box last reported of itself: what it may do, what it does, and what it measured."""
    folder = settings_of(state=state).state
    report, sha256 = newest_in(folder)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n")
        return
    paper = paper_of(report, judged(report), sha256, lang)
    if html is None:
        _print(paper)
    else:
        replace_file(html, html_of(paper).encode(), 0o644)
        Console().print(f"{html} written", highlight=False)


def newest_in(state: Path) -> tuple[Report, str]:
    """Return the newest report of the box in ``state``, and the SHA-256 of what was signed.

    Raises:
        NoReportError: There is none yet, or the folder is no box's.
        RejectedError: It is not signed with the key of the audit beside it.
    """
    try:
        with (state / "audit" / "key").open(encoding="ascii", errors="replace") as file:
            key = read_verifier(file.read(KEY_CHARACTERS_MAX).strip())
        with (state / "handed" / REPORT_FILE).open("rb") as binary:
            data = binary.read(ENVELOPE_BYTES_MAX + 1)
    except OSError:
        raise NoReportError(f"no report can be read in {state}: give the --state of a box that has run") from None
    return read_report(data, key), document_sha256(read_envelope(data).content())


def _print(paper: Paper) -> None:
    console = Console()
    console.print(f"[bold]{paper.title}[/bold]  {paper.of}", highlight=False)
    for section in paper.sections:
        table = Table(title=section.title, title_justify="left", show_header=False, expand=True)
        table.add_column(max_width=34, overflow="fold")
        table.add_column(overflow="fold")
        for row in section.rows:
            table.add_row(row.label, row.text, style="red" if row.is_alarming else None)
        console.print(table)
    number, claim, declared, measured, outcome, _ = check_heads(paper.lang)
    table = Table(number, claim, declared, measured, outcome, expand=True)
    for one in paper.checks:
        style = "red" if one.differs else None
        table.add_row(one.number, one.claim, one.declared, one.measured, one.outcome, style=style)
    console.print(table)
