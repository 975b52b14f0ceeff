"""The house rules a machine can hold: sizes, doors, and who may touch what."""

import ast
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "contracts/veilleur_contracts",
    "models/veilleur_models",
    "agent/veilleur_agent",
    "fleet/veilleur_fleet",
    "simulator/veilleur_simulator",
)
SHIPPED = sorted(chain.from_iterable((ROOT / package).rglob("*.py") for package in PACKAGES))


@cache
def trees() -> dict[str, ast.Module]:
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in SHIPPED}


def functions() -> Iterator[tuple[str, int]]:
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


@cache
def calls_of(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@cache
def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def ninth_decile(values: list[int]) -> int:
    return sorted(values)[int(len(values) * 0.9)]


def test_no_function_is_over_sixty_lines_and_nine_in_ten_are_within_thirty() -> None:
    sizes = dict(functions())
    assert {name: lines for name, lines in sizes.items() if lines > 60} == {}
    assert ninth_decile(list(sizes.values())) <= 30


def test_nine_modules_in_ten_are_within_three_hundred_lines() -> None:
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in SHIPPED]
    assert ninth_decile(lengths) <= 300


def test_every_module_opens_with_what_it_is_for() -> None:
    assert [name for name, tree in trees().items() if not ast.get_docstring(tree)] == []


def test_only_redact_makes_a_redacted_frame() -> None:
    makers = {
        name
        for name, tree in trees().items()
        for called, _ in calls_of(tree)
        if called.split(".")[-1] == "RedactedFrame"
    }
    assert makers == {"agent/veilleur_agent/eye/redact.py"}


def test_no_redacted_frame_is_made_by_copying_one() -> None:
    """A changed copy would carry the type's promise with other pixels."""
    offenders = {
        name
        for name, tree in trees().items()
        if name.startswith("agent/")
        for called, call in calls_of(tree)
        if called.split(".")[-1] in {"replace", "__replace__"}
        and any(keyword.arg == "i420" for keyword in call.keywords)
    }
    assert offenders == set()


def test_on_a_box_only_clips_encodes_a_picture() -> None:
    offenders = set()
    for name, tree in trees().items():
        if not name.startswith("agent/") or name.endswith("/clips.py"):
            continue
        for called, call in calls_of(tree):
            mode = [ast.unparse(value) for value in (*call.args[1:2], *(k.value for k in call.keywords))]
            opens_to_write = called in {"av.open", "av.container.open"} and any("w" in one.strip("'\"") for one in mode)
            if opens_to_write or called.split(".")[-1] in {"imwrite", "imencode", "VideoWriter", "tofile"}:
                offenders.add(name)
    assert offenders == set()


def test_only_the_upkeep_of_the_eye_puts_a_picture_into_the_store_and_it_encodes_it_itself() -> None:
    """What is sealed can therefore only have been a ``RedactedFrame``."""
    makers = {name for name, tree in trees().items() for called, _ in calls_of(tree) if called == "still_of"}
    assert makers == {"agent/veilleur_agent/eye/upkeep.py"}
    puts = [
        (name, ast.unparse(call.args[2]))
        for name, tree in trees().items()
        if name.startswith("agent/")
        for called, call in calls_of(tree)
        if called.endswith("store.add")
    ]
    assert puts == [("agent/veilleur_agent/eye/upkeep.py", "still_of(shown)")]


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        pytest.param(
            "aiomqtt",
            {
                "agent/veilleur_agent/mouth/session.py",
                "agent/veilleur_agent/mouth/gateway.py",  # another broker: the one of the radio gateway beside the box
                "fleet/veilleur_fleet/ingest.py",
            },
            id="aiomqtt",
        ),
        pytest.param("logging", set(), id="logging"),
        pytest.param("pickle", set(), id="pickle"),
        pytest.param("requests", set(), id="requests"),
    ],
)
def test_a_library_is_imported_where_it_is_allowed(library, allowed) -> None:
    shipped = {name for name in trees() if not name.startswith("simulator/")}
    assert {name for name in shipped if library in imported(trees()[name])} <= allowed


def test_the_lock_holds_no_telemetry_and_no_address() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text
        assert not any(line.startswith("openvino-telemetry") for line in text.splitlines())
        assert "--hash=sha256:" in text
