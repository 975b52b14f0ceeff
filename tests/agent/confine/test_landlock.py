"""Landlock by itself: what each version can refuse, what a domain refuses and gives back."""

import json
import secrets
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from confine_builders import needs_kernel, own_interpreter
from veilleur_agent.confine import landlock
from veilleur_agent.confine.errors import ConfinementError
from veilleur_agent.confine.landlock import Files, Ports, Scope, handled_by

CHILD = Path(__file__).parents[2] / "confine_landlock_child.py"
EVERYTHING = Files(0xFFFF)


@pytest.mark.parametrize(
    ("version", "files", "ports", "scope"),
    [
        pytest.param(1, Files(0x1FFF), 0, 0, id="linux-5.13"),
        pytest.param(2, Files(0x3FFF), 0, 0, id="linux-5.19"),
        pytest.param(3, Files(0x7FFF), 0, 0, id="linux-6.2"),
        pytest.param(4, Files(0x7FFF), Ports(3), 0, id="linux-6.7"),
        pytest.param(5, EVERYTHING, Ports(3), 0, id="linux-6.10"),
        pytest.param(6, EVERYTHING, Ports(3), Scope(3), id="linux-6.12"),
        pytest.param(7, EVERYTHING, Ports(3), Scope(3), id="linux-6.15"),
        pytest.param(99, EVERYTHING, Ports(3), Scope(3), id="one-not-known-yet"),
    ],
)
def test_everything_a_version_can_refuse_is_refused(version, files, ports, scope) -> None:
    handled = handled_by(version)
    assert (handled.files, handled.ports, handled.scope) == (files, ports, scope)


def test_nobody_is_ever_given_execution() -> None:
    for rights in (landlock.LIST, landlock.READ, landlock.WRITE, landlock.DEVICE):
        assert not rights & Files.EXECUTE


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("domain")
    for name in ("listed", "read", "own"):
        (folder / name).mkdir()
        (folder / name / ("program" if name == "own" else "inside")).write_bytes(b"#!/bin/true\n")
    (folder / "own" / "program").chmod(0o755)
    (folder / "file").write_bytes(b"x")
    name = f"veilleur-{secrets.token_hex(8)}"
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract,
    ):
        abstract.bind(b"\0" + name.encode())
        abstract.listen()
        done = subprocess.run(
            [sys.executable, "-P", str(CHILD), str(folder), str(listener.getsockname()[1]), name],
            env=own_interpreter().environment,
            capture_output=True,
            check=True,
            timeout=60,
        )
    return json.loads(done.stdout)


@needs_kernel
@pytest.mark.parametrize(
    "what",
    [
        "content of a listed folder",
        "write in a read folder",
        "make a file in a read folder",
        "link in its own folder",
        "pipe in its own folder",
        "run a program of its own folder",
        "tcp",
        "the parent's environment",
    ],
)
def test_a_domain_refuses(outcomes, what) -> None:
    assert outcomes[what] == "PermissionError"


@needs_kernel
def test_a_domain_moves_nothing_in_from_outside(outcomes) -> None:
    assert outcomes["move a file in from a read folder"] in {"PermissionError", "OSError"}


@needs_kernel
@pytest.mark.parametrize(
    "what",
    [
        "names of a listed folder",
        "content of a read folder",
        "a file of its own",
        "write in its own folder",
        "rename in its own folder",
        "remove in its own folder",
    ],
)
def test_a_domain_gives_back(outcomes, what) -> None:
    assert outcomes[what] == "allowed"


@needs_kernel
@pytest.mark.skipif(
    landlock.version() < landlock.SCOPE_SINCE, reason="this kernel's Landlock has no scope (Linux 6.12)"
)
@pytest.mark.parametrize("what", ["abstract socket", "signal the parent"])
def test_a_domain_keeps_inside(outcomes, what) -> None:
    assert outcomes[what] == "PermissionError"


def test_a_folder_that_must_exist_is_missed_with_a_sentence(tmp_path) -> None:
    """No domain is entered: the rule fails before."""
    if not landlock.version():
        pytest.skip("this kernel has no Landlock")
    rules = landlock.Ruleset(paths=((tmp_path / "gone", landlock.WRITE, True),))
    with pytest.raises(ConfinementError, match=r"gone cannot be kept for this process \(No such file or directory\)"):
        landlock.restrict(rules, landlock.version())
