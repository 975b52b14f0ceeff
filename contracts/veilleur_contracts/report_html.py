"""Write a privacy report as one HTML page that needs nothing else: to print, to send, to keep.

Paper ──html_of──▶ text, everything in it escaped
"""

from html import escape
from typing import Final

from veilleur_contracts.report_paper import Paper, check_heads
from veilleur_contracts.report_words import word


def html_of(paper: Paper) -> str:
    """Return ``paper`` as one HTML page that needs nothing else."""
    lines = [f"<h1>{escape(paper.title)}</h1>", f"<p><strong>{escape(paper.of)}</strong></p>"]
    for section in paper.sections:
        lines.append(f"<h2>{escape(section.title)}</h2>\n<table>")
        lines += [
            f"<tr{' class=bad' if row.is_alarming else ''}><th>{escape(row.label)}</th><td>{escape(row.text)}</td></tr>"
            for row in section.rows
        ]
        lines.append("</table>")
    heads = "".join(f"<th>{escape(one)}</th>" for one in check_heads(paper.lang))
    lines.append(f"<h2>{escape(word('checks', paper.lang))}</h2>\n<table><tr>{heads}</tr>")
    for one in paper.checks:
        said = f"{one.claim} ({one.unit})" if one.unit else one.claim
        cells = (one.number, said, one.declared, one.measured, one.outcome, one.proof)
        drawn = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f"<tr{' class=bad' if one.differs else ''}>{drawn}</tr>")
    lines.append(f"</table>\n<p>{escape(paper.note)}</p>")
    return _PAGE.format(lang=paper.lang, title=escape(f"{paper.title} · {paper.of}"), body="\n".join(lines))


_PAGE: Final = """<!doctype html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 11pt/1.4 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #14202c; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .5rem; border-bottom: 1px solid #d5dce4;
  overflow-wrap: anywhere; }}
th {{ width: 14rem; font-weight: 600; }}
tr.bad {{ background: #fde4e1; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
