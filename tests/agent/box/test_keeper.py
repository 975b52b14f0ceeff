"""One child of box, played by small programs that behave badly."""

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from veilleur_agent.control import FromChild, LinkReopened, Refused, RefusedReason, Tallied
from veilleur_agent.keeper import ChildKind, Keeper, Pace
from veilleur_agent.link import link_pair
from veilleur_contracts.clock import SystemClock
from waiting import until

WITHIN_S = 20.0
QUICK = Pace(ready_s=10.0, silent_s=10.0, pause_s=0.02, pause_max_s=0.1)

PREAMBLE = """
import os, socket, sys, time
import msgspec
from veilleur_agent.control import *
control = socket.socket(fileno=int(sys.argv[1]))
control.settimeout(30)
def say(message):
    control.send(msgspec.msgpack.encode(message))
def hear():
    data = control.recv(65536)
    if not data:
        sys.exit(9)
    return msgspec.msgpack.decode(data, type=Addresses | LinkReopened | Stop)
"""


class Kept:
    """A keeper with what it told and heard."""

    def __init__(self, program: Path, pace: Pace) -> None:
        self.told: list[tuple[str, dict[str, object]]] = []
        self.heard: list[FromChild] = []
        self.ended = 0
        self._links = link_pair()
        kind = ChildKind("eye", (sys.executable, "-P", str(program)), self._links[0], None, lambda: (LinkReopened(),))
        self.keeper = Keeper(
            kind, told=self.heard.append, ended=self._count, tell=self._tell, clock=SystemClock(), pace=pace
        )

    def _count(self) -> None:
        self.ended += 1

    def _tell(self, event: str, **values: object) -> None:
        self.told.append((event, values))

    def events(self, name: str) -> list[dict[str, object]]:
        return [values for event, values in self.told if event == name]

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition, WITHIN_S)

    def close(self) -> None:
        for link in self._links:
            link.close()


@pytest.fixture
def keeping(tmp_path: Path) -> Callable[..., object]:
    @asynccontextmanager
    async def keep(script: str, pace: Pace = QUICK) -> AsyncIterator[Kept]:
        program = tmp_path / "child.py"
        program.write_text(PREAMBLE + textwrap.dedent(script), encoding="utf-8")
        kept = Kept(program, pace)
        task = asyncio.create_task(kept.keeper.keep(), name="keep")
        try:
            yield kept
            kept.keeper.kill()
            await kept.keeper.stop(0.1, 0.1)
            await task
            assert kept.keeper.pid is None
        finally:
            kept.keeper.kill()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            kept.close()

    return keep


async def test_junk_on_stdout_and_stderr_is_counted_and_never_shown(keeping) -> None:
    script = """
        print("Traceback: rtsp://admin:geheim@10.0.0.7/main")
        print('{"event": "camera.state_changed", "camera": "gare", "state": "live", "reconnects": 0}')
        print('{"event": "camera.state_changed", "camera": "a sentence, no id", "state": "live", "reconnects": 0}')
        print('{"event": "never.registered"}')
        sys.stderr.write("x" * 100_000)
        sys.stdout.flush()
        say(Ready())
        hear(); hear()
    """
    async with keeping(script) as kept:
        await kept.until(lambda: bool(kept.events("camera.state_changed")) and kept.keeper.was_ready)
        os.kill(kept.keeper.pid, signal.SIGKILL)
        await kept.until(lambda: kept.ended == 1)
    assert kept.events("camera.state_changed")[0] == {
        "child": "eye",
        "camera": "gare",
        "state": "live",
        "reconnects": 0,
    }
    assert sum(values["bytes"] for values in kept.events("child.output_dropped")) > 100_000
    assert "geheim" not in str(kept.told)
    assert "sentence" not in str(kept.told)
    assert "xxx" not in str(kept.told)


async def test_a_child_that_dies_is_started_again_and_a_loop_is_told_once(keeping) -> None:
    async with keeping("sys.exit(3)") as kept:
        await kept.until(lambda: kept.keeper.starts > 7)
    ended = kept.events("child.ended")
    assert ended[0]["code"] == 3
    assert kept.events("child.loop_noticed") == [{"child": "eye", "failures": 5}]
    pauses = [values["again_in_ms"] for values in ended]
    assert max(pauses[:1]) <= 20
    assert max(pauses) <= 100


async def test_a_child_that_says_no_message_is_ended(keeping) -> None:
    async with keeping('control.send(b"\\xc1 rubbish"); time.sleep(60)') as kept:
        await kept.until(lambda: kept.ended >= 1)
    assert kept.events("child.ended")[0]["code"] == -signal.SIGKILL


async def test_a_child_that_falls_silent_is_ended(keeping) -> None:
    pace = Pace(ready_s=10.0, silent_s=0.3, pause_s=0.02, pause_max_s=0.1)
    async with keeping("say(Ready()); hear(); hear()", pace) as kept:
        await kept.until(lambda: kept.ended >= 1)
    assert kept.events("child.silence_noticed")[0] == {"child": "eye"}


async def test_a_child_that_never_gets_ready_is_ended(keeping) -> None:
    pace = Pace(ready_s=0.3, silent_s=60.0, pause_s=0.02, pause_max_s=0.1)
    async with keeping("time.sleep(60)", pace) as kept:
        await kept.until(lambda: kept.ended >= 1)
    assert kept.events("child.silence_noticed")


async def test_asked_to_stop_it_ends_by_itself_and_is_not_started_again(keeping) -> None:
    script = """
        hear()
        say(Ready())
        while not isinstance(hear(), Stop):
            pass
        say(Tallied("gare", 5, 50, ()))
        say(Ended(0))
    """
    async with keeping(script) as kept:
        await kept.until(lambda: kept.keeper.was_ready)
        assert await kept.keeper.stop(5.0, 5.0)
        await kept.until(lambda: kept.ended == 1)
        assert kept.keeper.pid is None
    assert Tallied("gare", 5, 50, ()) in kept.heard, "its last words are heard"
    assert kept.keeper.starts == 1
    assert kept.events("child.ended") == []


async def test_one_that_does_not_stop_in_time_is_ended(keeping) -> None:
    async with keeping("say(Ready())\nwhile True:\n    hear()") as kept:
        await kept.until(lambda: kept.keeper.was_ready)
        assert not await kept.keeper.stop(0.1, 0.1)
    assert kept.events("child.killed") == [{"child": "eye"}]


async def test_a_refusal_is_kept(keeping) -> None:
    async with keeping('say(Refused(RefusedReason.MODEL, "gare")); sys.exit(2)') as kept:
        await kept.until(lambda: kept.ended >= 1)
    assert kept.keeper.refusal == Refused(RefusedReason.MODEL, "gare")
    assert not kept.keeper.was_ready


async def test_a_program_that_cannot_be_run_is_a_refusal_and_no_crash(keeping) -> None:
    async with keeping("") as kept:
        kept.keeper.kind = replace(kept.keeper.kind, program=("/nowhere/python",))
        await kept.until(lambda: kept.keeper.refusal is not None)
    assert kept.keeper.refusal == Refused(RefusedReason.SPAWN, None)


async def test_a_child_inherits_no_variable_and_no_descriptor_of_boxs(keeping, monkeypatch) -> None:
    monkeypatch.setenv("VEILLEUR_BROKER", "mqtt://user:geheim@10.0.0.2")
    script = """
        numbers = {int(name) for name in os.listdir("/proc/self/fd")}
        numbers -= {0, 1, 2, int(sys.argv[1]), int(sys.argv[2])}
        opened = sum(os.path.exists(f"/proc/self/fd/{number}") for number in numbers)
        say(Tallied("gare", opened, len(set(os.environ) - {"PATH", "LANG", "PYTHONUNBUFFERED", "LC_CTYPE"}), ()))
        hear(); hear()
    """
    async with keeping(script) as kept:
        await kept.until(lambda: bool(kept.heard))
    assert kept.heard[0] == Tallied("gare", 0, 0, ())
