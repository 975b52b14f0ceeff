import os
import signal
import sys
import time
from pathlib import Path

import pytest

from veilleur_simulator.errors import PartFailedError
from veilleur_simulator.processes import Child, tail_of, tie, wait_until

WITHIN_S = 10.0


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


GRANDCHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"


def test_says_when_it_is_ready_and_what_it_ended_with(tmp_path: Path) -> None:
    with Child("part", python("print('ready'); raise SystemExit(3)"), tmp_path / "log", speaks=True) as child:
        assert child.line(WITHIN_S) == "ready"
        assert child.wait(WITHIN_S) == 3
        with pytest.raises(PartFailedError, match="part ended with exit code 3"):
            child.check()


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_ending_it_ends_what_it_started_and_nothing_else(tmp_path: Path, way: str) -> None:
    bystander = Child("bystander", python("import time; time.sleep(600)"), tmp_path / "bystander")
    child = Child("part", python(GRANDCHILD), tmp_path / "log", speaks=True)
    try:
        grandchild = int(child.line(WITHIN_S))
        assert is_there(grandchild)
        getattr(child, way)()
        wait_until(lambda: not is_there(grandchild), WITHIN_S, "the end of the grandchild")
        assert not is_there(child.pid)
        assert is_there(bystander.pid)
    finally:
        child.kill()
        bystander.kill()


@pytest.mark.skipif(not tie(), reason="no setpriv here: util-linux is not installed")
def test_it_ends_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from veilleur_simulator.processes import Child
child = Child("part", [{sys.executable!r}, "-c", "import time; time.sleep(600)"], Path({str(tmp_path / "log")!r}))
print(child.pid, flush=True)
time.sleep(600)
"""
    with Child("parent", python(code), tmp_path / "parent", speaks=True) as parent:
        grandchild = int(parent.line(WITHIN_S))
        is_tied = Path(f"/proc/{grandchild}/cmdline")  # setpriv has done its work once the program itself runs
        wait_until(lambda: is_tied.read_text(encoding="utf-8").startswith(sys.executable), WITHIN_S, "a tied child")
        os.kill(parent.pid, signal.SIGKILL)
        wait_until(lambda: not is_there(grandchild), WITHIN_S, "the end of the grandchild")


def test_what_does_not_listen_is_ended_by_force(tmp_path: Path) -> None:
    child = Child("part", python(DEAF), tmp_path / "log", speaks=True)
    assert child.line(WITHIN_S) == "ready"
    assert child.stop(within_s=0.2) == -9


def test_a_part_that_never_gets_ready_is_told_with_its_last_lines(tmp_path: Path) -> None:
    code = "import sys; print('the reason', file=sys.stderr); sys.exit(1)"
    with (
        Child("part", python(code), tmp_path / "log", speaks=True) as child,
        pytest.raises(PartFailedError, match=r"(?s)part ended before it was ready.*the reason"),
    ):
        child.line(WITHIN_S)
    with Child("part", python("import time; time.sleep(600)"), tmp_path / "log", speaks=True) as child:
        with pytest.raises(PartFailedError, match="not ready within"):
            child.line(0.2)
        child.kill()


def test_waits_for_a_condition_with_a_deadline() -> None:
    began_s = time.monotonic()
    with pytest.raises(PartFailedError, match=r"pigs flying did not happen within 0\.1 s"):
        wait_until(lambda: False, 0.1, "pigs flying")
    assert time.monotonic() - began_s < WITHIN_S


def test_only_the_last_lines_of_a_long_log_are_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(10_000)), encoding="utf-8")
    tail = tail_of(log).splitlines()
    assert len(tail) == 12
    assert tail[-1].strip() == "line 9999"
    assert tail_of(tmp_path / "none") == ""
