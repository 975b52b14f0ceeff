"""Whoever steps out of a rule says why on the same line: lint, types, coverage, broad handlers and skipped tests."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("contracts", "models", "agent", "fleet", "simulator", "tests", "benchmarks", "docs", "scripts")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
EXEMPTION = re.compile(
    r"#\s*(?:(?:ruff:\s*)?noqa(?::\s*[A-Z]+[0-9]+(?:[,\s]+[A-Z]+[0-9]+)*)?|type:\s*ignore(?:\[[^\]]*\])?|pragma:[ \w]*)"
    r"(?P<why>.*)",
)
BROAD = re.compile(r"except\*? \(?[^:#]*\b(?:Base)?Exception\b[^:#]*:(?P<rest>.*)")
EMPTY = {"the same", "as above", "see above", "needed here", "false positive", "for now"}
"""Words that send a reader elsewhere, or nowhere."""


def is_reason(text: str) -> bool:
    """Tell whether ``text`` says something: two words at least, and none of those that say nothing."""
    reason = text.strip(" #-()").lower()
    return len(reason.split()) > 1 and reason not in EMPTY


def exempted(source: str) -> Iterator[int]:
    """Yield the lines of a module whose exemption, or broad handler, gives no reason."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        found = EXEMPTION.search(token.string) if token.type == tokenize.COMMENT else None
        if found and not is_reason(found["why"]):
            yield token.start[0]
    handlers = [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ExceptHandler)]
    lines = source.splitlines()
    for number in handlers:
        broad = BROAD.search(lines[number - 1])
        if broad and not is_reason(broad["rest"].partition("noqa: BLE001")[2] or broad["rest"]):
            yield number


def skipped(source: str) -> Iterator[int]:
    """Yield the lines of a module on which a test is left out without a sentence."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        said = {keyword.arg: keyword.value for keyword in node.keywords}
        if called in {"pytest.skip", "pytest.xfail"}:
            reason = node.args[0] if node.args else said.get("reason")
        elif called in {"pytest.importorskip", "pytest.mark.skipif", "pytest.mark.skip", "pytest.mark.xfail"}:
            reason = said.get("reason")
        else:
            continue
        if reason is None or not is_reason(ast.unparse(reason)):
            yield node.lineno


def test_every_exemption_has_its_reason_on_the_line() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in FILES
        for source in (path.read_text(encoding="utf-8"),)
        for number in (*exempted(source), *skipped(source))
    ]
    assert found == []


def test_types_are_not_ignored_where_nobody_checks_them() -> None:
    unchecked = [path for path in FILES if path.relative_to(ROOT).parts[0] in {"tests", "benchmarks"}]
    ignored = re.compile(r"#\s*type:\s*ignore")
    here = Path(__file__)
    found = [path.name for path in unchecked if path != here and ignored.search(path.read_text(encoding="utf-8"))]
    assert found == [], "mypy reads the packages alone"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("import os  # noqa: F401", id="noqa"),
        pytest.param("import os  # noqa: F401 - the same", id="elsewhere"),
        pytest.param("import os  # noqa", id="everything"),
        pytest.param("x = 1  # type: ignore[misc]", id="types"),
        pytest.param("x = 1  # pragma: no cover", id="coverage"),
        pytest.param("try:\n    pass\nexcept Exception:\n    pass", id="broad"),
        pytest.param("try:\n    pass\nexcept (OSError, BaseException):  # noqa: BLE001\n    pass", id="broadest"),
        pytest.param("pytest.skip()", id="skipped"),
        pytest.param("pytest.importorskip('yaml')", id="not-installed"),
    ],
)
def test_an_exemption_without_a_reason_would_be_found(line) -> None:
    assert [*exempted(line), *skipped(line)] != []


@pytest.mark.parametrize(
    "line",
    [
        "import os  # noqa: F401 - read by whoever imports us",
        "x = 1  # type: ignore[misc]  # the library has no types",
        "try:\n    pass\nexcept Exception:  # raised again by its reader\n    pass",
        "pytest.skip('Mosquitto is not installed')",
    ],
)
def test_one_with_its_reason_is_let_be(line) -> None:
    assert [*exempted(line), *skipped(line)] == []
