"""Landlock alone, without seccomp, in a process of its own: what it refuses, as JSON.

python -P confine_landlock_child.py FOLDER LISTENING_PORT ABSTRACT_NAME
"""

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from veilleur_agent.confine import kernel, landlock


def outcome_of(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    return "allowed"


def connected(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.connect(("127.0.0.1", port))


def reached(name: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(b"\0" + name)


def main() -> None:
    folder, port, name = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    rules = landlock.Ruleset(
        paths=(
            (folder / "listed", landlock.LIST, True),
            (folder / "read", landlock.READ, True),
            (folder / "own", landlock.WRITE, True),
            (folder / "file", landlock.READ, True),
            (folder / "nowhere", landlock.READ, False),
        )
    )
    landlock.restrict(rules, landlock.version())
    program = folder / "own" / "program"
    attempts: dict[str, Callable[[], object]] = {
        "names of a listed folder": lambda: list((folder / "listed").iterdir()),
        "content of a listed folder": (folder / "listed" / "inside").read_bytes,
        "content of a read folder": (folder / "read" / "inside").read_bytes,
        "write in a read folder": lambda: (folder / "read" / "inside").write_bytes(b"y"),
        "make a file in a read folder": (folder / "read" / "new").touch,
        "a file of its own": (folder / "file").read_bytes,
        "write in its own folder": lambda: (folder / "own" / "new").write_bytes(b"y"),
        "rename in its own folder": lambda: (folder / "own" / "new").rename(folder / "own" / "newer"),
        "remove in its own folder": (folder / "own" / "newer").unlink,
        "link in its own folder": lambda: (folder / "own" / "link").symlink_to("/etc/passwd"),
        "pipe in its own folder": lambda: os.mkfifo(folder / "own" / "pipe"),
        "run a program of its own folder": lambda: os.execv(program, [program]),  # noqa: S606 - a program of the test
        "move a file in from a read folder": lambda: (folder / "read" / "inside").rename(folder / "own" / "inside"),
        "tcp": lambda: connected(port),
        "abstract socket": lambda: reached(name),
        "signal the parent": lambda: os.kill(os.getppid(), 0),
        "the parent's environment": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    }
    sys.stdout.write(json.dumps({what: outcome_of(attempt) for what, attempt in attempts.items()}))


if __name__ == "__main__":
    main()
