"""What docs/operations.md says to type, typed: from the first key to a stop that is lifted, in the order it says."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from veilleur_fleet.cli import cli

GUIDE = Path(__file__).parents[2] / "docs" / "operations.md"
CHAPTERS = ("From nothing to a counted street, in order", "Stop cameras, and lift a stop")
LOOP = re.compile(r"for who in (.+); do\s+(.+); done")
SERVERS = ("veilleur-fleet run", "/srv/broker/run.sh", "veilleur-agent")
"""Started by the journeys; here nothing is left running."""
WRITTEN = {
    "policy.toml": (("n° … du …", "n° 42 du 4 mai"),),
    "stop.toml": (('reason = "…"', 'reason = "Une plainte est à instruire."'),),
    "policy-2.toml": (("version = 1 ", "version = 2 "), ('# lifts = ["…"]', 'lifts = ["{stop}"]')),
}
"""What a person writes in each draft when the guide says to."""
SHA256 = re.compile(r"document sha256 ([0-9a-f]{64})")


def typed(chapter: str) -> list[str]:
    """Return the commands of a chapter, one a line, loops written out."""
    text = GUIDE.read_text(encoding="utf-8").partition(f"\n## {chapter}\n")[2].partition("\n## ")[0]
    code = "\n".join(re.findall(r"```sh\n(.+?)```", text, re.DOTALL))
    code = re.sub(r"\s+#.*", "", code).replace("\\\n", " ").replace("; do\n", "; do ").replace("\ndone", "; done")
    commands = []
    for line in code.splitlines():
        if loop := LOOP.fullmatch(line.strip()):
            commands += [loop[2].replace("$who", who) for who in loop[1].split()]
        else:
            commands += [part.strip() for part in line.split(";") if part.strip()]
    return commands


class Person:
    """Somebody in a shell, who types a command after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"COLUMNS": "300", "VEILLEUR_FLEET_DATABASE": ""}
        self.said: list[str] = []

    def type(self, command: str) -> None:
        command = command.replace("/var/lib/", f"{self.folder}/lib/").replace("/srv/", f"{self.folder}/srv/")
        if command.startswith("${EDITOR:-vi}"):
            self.write(Path(command.split()[1]))
        elif command.startswith("export "):
            pairs = command.removeprefix("export ").replace("$PWD", str(Path.cwd())).split()
            self.environment |= dict(pair.split("=", 1) for pair in pairs)
        elif command.startswith("cd "):
            os.chdir(command.split()[1])
        elif command.startswith("veilleur-fleet "):
            words = shlex.split(command)[1:]
            given = "trois petits chats\n" * 2 if words[:2] == ["account", "add"] else None
            done = CliRunner().invoke(cli, words, env=self.environment, input=given)
            assert done.exit_code == 0, f"{command}: {done.output}"
            self.said.append(done.output)
        else:
            subprocess.run(["/bin/sh", "-c", f"umask 077; {command}"], check=True, timeout=20)

    def write(self, draft: Path) -> None:
        text = draft.read_text(encoding="utf-8")
        for left, filled in WRITTEN[draft.name]:
            assert left in text, f"{draft} asks for {left}"
            text = text.replace(left, filled.format(stop=self.stop))
        draft.write_text(text, encoding="utf-8")

    @property
    def stop(self) -> str:
        """What the person reads off: the document sha256 of the stop."""
        return next((found[1] for said in self.said if "stop" in said and (found := SHA256.search(said))), "")


@pytest.fixture
def person(tmp_path, monkeypatch) -> Person:
    monkeypatch.chdir(tmp_path)
    return Person(tmp_path)


def test_every_command_of_the_guide_does_what_it_says(person) -> None:
    for chapter in CHAPTERS:
        commands = typed(chapter)
        assert len(commands) > 6, f"the chapter {chapter!r} is not found"
        for command in commands:
            if not any(server in command for server in SERVERS):
                person.type(command)
    printed = "\n".join(person.said)
    assert "is root 1, the first" in printed
    assert "authority made in" in printed
    assert "policy 1 published for the boxes of ville" in printed
    assert "vt1." in printed
    assert "stop published for the boxes of ville" in printed
    assert "it loosens, and all have signed" in printed
    assert "policy 2 published" in printed
    (hall,) = set(SHA256.findall(next(said for said in person.said if said.startswith("stop published"))))
    assert hall == person.stop, "signing and publishing call it the same"
