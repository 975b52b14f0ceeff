"""Every command of every program ends its help with examples, and each of them can be typed as it stands."""

import re
import shlex
from collections.abc import Iterator
from typing import Any, Final

import pytest
import typer
from typer.main import get_command

import veilleur_agent.cli
import veilleur_fleet.cli
import veilleur_models.cli
import veilleur_simulator.cli

PROGRAMS: Final = {
    "veilleur-agent": veilleur_agent.cli.app,
    "veilleur-fleet": veilleur_fleet.cli.cli,
    "veilleur-models": veilleur_models.cli.app,
    "veilleur-simulator": veilleur_simulator.cli.app,
}
USAGE_ERROR: Final = typer.BadParameter.__bases__[0]
"""What a command raises of words it does not understand."""


def commands_in(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands_in(inner, (*words, name))
    if not hasattr(command, "commands"):
        yield words, command


COMMANDS: Final = {
    " ".join(words): command
    for program, app in PROGRAMS.items()
    for words, command in commands_in(get_command(app), (program,))
}


def examples_of(name: str) -> list[str]:
    """Return what the help of a command tells to type, one command each: not what begins with another command."""
    text = re.sub(r"\n      +", " ", COMMANDS[name].epilog or "")
    lines = [part.strip() for line in text.splitlines() for part in re.sub(r"^Examples?:", "", line).split("   ·   ")]
    lines = [line.split(" >")[0].split(" && ")[0] for line in lines]
    return [line for line in lines if re.match(rf"([A-Z_]+=\S+ )*{name}( |$)", line)]


def test_there_are_as_many_commands_as_there_should_be() -> None:
    assert len(COMMANDS) >= 50, "the walk finds them"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_shows_an_example_that_it_understands(name, monkeypatch) -> None:
    examples = examples_of(name)
    assert examples, f"`{name} --help` shows no example"
    for example in examples:
        settings, _, rest = example.partition(name)
        for setting in settings.split():
            monkeypatch.setenv(*setting.split("=", 1))
        words = shlex.split(rest)
        try:
            COMMANDS[name].make_context(name, words)
        except USAGE_ERROR as error:
            pytest.fail(f"{example}: {error}")
