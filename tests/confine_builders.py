"""Start the confined processes of the tests, and tell what this machine can do."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from veilleur_agent.confine import landlock, seccomp

CHILD = Path(__file__).with_name("confine_child.py")
NOBODY = 65534
TIME_LIMIT_S = 90

needs_kernel = pytest.mark.skipif(
    landlock.version() < landlock.PORTS_SINCE or not seccomp.is_available(),
    reason="this kernel has no Landlock with TCP ports (Linux 6.7) or no seccomp: nothing can be confined on it",
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python, and the environment it needs to find the packages."""

    program: str
    environment: Mapping[str, str]


def own_interpreter() -> Interpreter:
    return Interpreter(sys.executable, {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"})


def interpreter_for(uid: int) -> Interpreter | None:
    """Return a Python of this version that ``uid`` can run with the same packages; None when there is none."""
    standard = {sys.base_prefix, sys.prefix}
    entries = [Path(entry) for entry in sys.path if entry]
    path = os.pathsep.join(
        str(entry)
        for entry in entries
        if entry.name == "site-packages" or not any(entry.is_relative_to(one) for one in standard)
    )
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    other = Interpreter(system, {**own_interpreter().environment, "PYTHONPATH": path})
    for candidate in (own_interpreter(), other):
        asked = [candidate.program, "-P", "-c", "import msgspec, veilleur_agent"]
        try:
            done = subprocess.run(
                asked, env=candidate.environment, user=uid, group=uid, extra_groups=(), cwd="/", capture_output=True,
                timeout=TIME_LIMIT_S, check=False,
            )  # fmt: skip  # one call, one thought
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    return None


def run_child(
    profile: str,
    steps: Sequence[str],
    *,
    own: Sequence[Path] = (),
    others: Sequence[Path] = (),
    read_only: Sequence[Path] = (),
    ports: Sequence[int] = (),
    confined: bool = True,
    uid: int | None = None,
    interpreter: Interpreter | None = None,
    before: Sequence[str] = (),
    **more: object,
) -> dict:
    """Run the steps in a process of its own and return what each printed; fails with its error when it fails."""
    asked = {
        "profile": profile,
        "steps": list(steps),
        "own": list(map(str, own)),
        "others": list(map(str, others)),
        "read_only": list(map(str, read_only)),
        "ports": list(ports),
        "confined": confined,
        **more,
    }
    python = interpreter or own_interpreter()
    identity = {} if uid is None else {"user": uid, "group": uid, "extra_groups": ()}
    done = subprocess.run(
        [*before, python.program, "-P", str(CHILD), json.dumps(asked)],
        env=python.environment,
        cwd="/",
        capture_output=True,
        timeout=TIME_LIMIT_S,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        **identity,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def built_sprite_model(folder: Path) -> Path:
    """Build the sprite detector into ``folder`` with the command people use; return its package."""
    command = [sys.executable, "-c", "from veilleur_models.cli import main; main()", "build", "sprite"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "VEILLEUR_MODEL_CACHE": str(folder)}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=TIME_LIMIT_S)
    return folder / "sprite"
