"""Whatever stands in a log stands in docs/operations.md, with what it means and what to do."""

import ast
import re
from pathlib import Path

from veilleur_agent.events import EVENTS

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
CHAPTER = GUIDE.partition("\n## What the log says\n")[2].partition("\n## ")[0]
PACKAGES = ("agent/veilleur_agent", "fleet/veilleur_fleet")
SAYING = {"tell", "_tell", "debug", "info", "warning", "error"}


def said_in(package: str) -> set[str]:
    """Names of the events that the code of a package says itself."""
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func).split(".")[-1] not in SAYING:
                continue
            names = [one.value for one in ast.walk(node.args[0]) if isinstance(one, ast.Constant)] if node.args else []
            found |= {name for name in names if isinstance(name, str) and re.fullmatch(r"[a-z]+\.[a-z_]+", name)}
    return found


def explained() -> set[str]:
    rows = [line.split("|")[1] for line in CHAPTER.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([a-z]+\.[a-z_]+)`", row)}


def test_every_event_a_log_can_hold_is_explained_and_no_other() -> None:
    said = EVENTS.keys() | {name for package in PACKAGES for name in said_in(package)}
    assert len(said) > 80
    assert sorted(said - explained()) == []
    code = "".join(path.read_text(encoding="utf-8") for one in PACKAGES for path in (ROOT / one).rglob("*.py"))
    assert [name for name in sorted(explained()) if f'"{name}"' not in code] == []
