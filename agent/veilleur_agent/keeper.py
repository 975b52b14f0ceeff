"""Keep one child of box alive: start, listen, watch, restart with a growing pause, and end it when asked.

start ─▶ running ─▶ ended ─▶ pause 1 → 60 s ─▶ start      a child that is silent too long is ended first
           │ stdout, stderr ─▶ OutputGate      control ─▶ box
"""

import asyncio
import contextlib
import random
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from veilleur_agent.control import (
    Beat,
    ControlClosedError,
    ControlEnd,
    Ended,
    FromChild,
    Ready,
    Refused,
    RefusedReason,
    Stop,
    control_pair,
    from_child,
)
from veilleur_agent.events import OutputGate, Tell, Value
from veilleur_agent.starts import ControlMessage
from veilleur_contracts.clock import Clock

ENVIRONMENT: Final[Mapping[str, str]] = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
"""All a child inherits: nothing of box's own environment, where the broker's password may stand."""
PROVEN_AFTER_S: Final = 60.0
LOOPS_AFTER: Final = 5
READ_BYTES: Final = 4096
LOOK_EVERY_S: Final = 0.5
CANNOT_RUN: Final = 126
"""What a shell says of a program it may not run."""
END_WITHIN_S: Final = 1.0
"""A child that has closed its control pair is about to be gone."""
DROPPED_TOLD_EVERY_S: Final = 60.0
MESSAGES_A_TURN: Final = 256


@dataclass(frozen=True, slots=True)
class Pace:
    """How long what may take, seconds: to load, between two signs of life, and the pauses between two starts."""

    ready_s: float = 180.0
    silent_s: float = 30.0
    pause_s: float = 1.0
    pause_max_s: float = 60.0


@dataclass(frozen=True, slots=True)
class ChildKind:
    """What is the same at every start of one child.

    Attributes:
        name: What it is called: eye or mouth.
        program: What is run; the numbers of its two sockets are added.
        link: Its end of the link.
        uid: User it runs as; None: box's own.
        first: Makes the first message it is told, and those that follow it at once.
    """

    name: str
    program: tuple[str, ...]
    link: socket.socket
    uid: int | None
    first: Callable[[], tuple[ControlMessage, ...]]


def module_program(module: str) -> tuple[str, ...]:
    """Return how a module of ours is run as a child: with this interpreter, and nothing of the current folder."""
    return (sys.executable, "-P", "-m", module)


class Keeper:
    """Keeps one child alive until it is asked to stop.

    Args:
        kind: What to start.
        told: Takes what the child says, but for its signs of life.
        ended: Called whenever it has ended, before it is started again.
        tell: Box's log.
        clock: For watching.
        pace: How long what may take.
    """

    def __init__(
        self,
        kind: ChildKind,
        *,
        told: Callable[[FromChild], None],
        ended: Callable[[], None],
        tell: Tell,
        clock: Clock,
        pace: Pace | None = None,
    ) -> None:
        self.kind = kind
        self._told = told
        self._ended = ended
        self._tell = tell
        self._clock = clock
        self._pace = pace or Pace()
        self._decoder = from_child()
        self._process: asyncio.subprocess.Process | None = None
        self._control: ControlEnd | None = None
        self._stopping = asyncio.Event()
        self._gone = asyncio.Event()
        self._gone.set()
        self._is_ready = False
        self._heard_at_s = 0.0
        self._failures = 0
        self.starts = 0
        self.refusal: Refused | None = None
        self.was_ready = False

    @property
    def pid(self) -> int | None:
        """Process id of the child that runs now."""
        return None if self._process is None or self._gone.is_set() else self._process.pid

    def say(self, message: ControlMessage) -> None:
        """Tell the child, if there is one that listens."""
        if self._control is not None:
            with contextlib.suppress(ControlClosedError):  # it is ending, which is noticed elsewhere
                self._control.say(message)

    def kill(self) -> None:
        """End the child at once, and nothing else."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def keep(self) -> None:
        """Start the child again and again until ``stop``."""
        while not self._stopping.is_set():
            began_s = self._clock.elapsed_s()
            code = await self._live_once()
            self._ended()
            if self._stopping.is_set():
                return
            lived_s = self._clock.elapsed_s() - began_s
            self._failures = 1 if self._is_ready and lived_s > PROVEN_AFTER_S else self._failures + 1
            longest_s = min(self._pace.pause_max_s, self._pace.pause_s * 2.0 ** min(self._failures - 1, 16))
            pause_s = longest_s * random.SystemRandom().uniform(0.5, 1.0)
            self._tell("child.ended", child=self.kind.name, code=code, again_in_ms=round(pause_s * 1000))
            if self._failures == LOOPS_AFTER:
                self._tell("child.loop_noticed", child=self.kind.name, failures=self._failures)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()

    async def stop(self, within_s: float, grace_s: float) -> bool:
        """Ask the child to finish within ``within_s``; end it when it has not ended ``grace_s`` later.

        Returns:
            Whether it ended by itself.
        """
        self._stopping.set()
        if self._gone.is_set():
            return True
        if not self._is_ready:
            self.kill()  # it has done nothing yet that it could finish
        self.say(Stop(round(within_s * 1000)))
        try:
            async with asyncio.timeout(within_s + grace_s):
                await self._gone.wait()
        except TimeoutError:
            self._tell("child.killed", child=self.kind.name)
            self.kill()
            await self._gone.wait()
            return False
        return True

    async def _live_once(self) -> int:
        """Run the child from its start to its end; return its exit code, negative for a signal."""
        ours, theirs = control_pair()
        try:
            process = await self._spawn(theirs)
        except OSError:
            ours.close()
            self._take(Refused(RefusedReason.SPAWN, None))
            return CANNOT_RUN
        finally:
            theirs.close()
        self._process, self._control = process, ControlEnd(ours)
        self._gone.clear()
        self._is_ready, self._heard_at_s = False, self._clock.elapsed_s()
        self.starts += 1
        self._tell("child.started", child=self.kind.name, pid=process.pid)
        for message in self.kind.first():
            self.say(message)
        if self._stopping.is_set():
            self.kill()
        try:
            async with asyncio.TaskGroup() as tasks:
                for stream in (process.stdout, process.stderr):
                    tasks.create_task(self._read(stream), name=f"{self.kind.name}.output")
                helpers = [
                    tasks.create_task(self._listen(), name=f"{self.kind.name}.listen"),
                    tasks.create_task(self._watch(), name=f"{self.kind.name}.watch"),
                ]
                code = await process.wait()
                self._hear()
                for helper in helpers:
                    helper.cancel()
        finally:
            self.kill()
            self._control.close()
            self._control = None
            self._gone.set()
        return code

    async def _spawn(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        numbers = (theirs.fileno(), self.kind.link.fileno())
        uid = self.kind.uid
        owner = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
        return await asyncio.create_subprocess_exec(
            *self.kind.program,
            *map(str, numbers),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=numbers,
            env=dict(ENVIRONMENT),
            cwd="/",
            start_new_session=True,
            **owner,  # type: ignore[arg-type]  # as Popen takes them
        )

    async def _read(self, stream: asyncio.StreamReader | None) -> None:
        """Let pass what is registered; count the rest and never show it."""
        if stream is None:
            return
        gate = OutputGate(self._clock, self._hand_on)
        told, told_at_s = 0, -DROPPED_TOLD_EVERY_S
        while data := await stream.read(READ_BYTES):
            gate.take(data)
            now_s = self._clock.elapsed_s()
            if gate.dropped_bytes > told and now_s - told_at_s >= DROPPED_TOLD_EVERY_S:
                self._tell("child.output_dropped", child=self.kind.name, bytes=gate.dropped_bytes - told)
                told, told_at_s = gate.dropped_bytes, now_s
        gate.take(b"\n")
        if gate.dropped_bytes - 1 > told:
            self._tell("child.output_dropped", child=self.kind.name, bytes=gate.dropped_bytes - told)

    def _hand_on(self, event: str, values: dict[str, Value]) -> None:
        self._tell(event, child=self.kind.name, **values)

    async def _listen(self) -> None:
        """Hear what the child says until it closes its end, or says what is no message; then it has to end."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        descriptor = -1 if self._control is None else self._control.fileno()
        loop.add_reader(descriptor, readable.set)
        try:
            while self._hear():
                readable.clear()
                await readable.wait()
        finally:
            loop.remove_reader(descriptor)
        await asyncio.sleep(END_WITHIN_S)
        self.kill()

    def _hear(self) -> bool:
        """Take in what waits; False when there will be no more."""
        for _ in range(MESSAGES_A_TURN):
            try:
                message = None if self._control is None else self._control.hear(self._decoder)
            except ControlClosedError:
                return False
            if message is None:
                return True
            self._heard_at_s = self._clock.elapsed_s()
            self._take(message)
        return True

    def _take(self, message: FromChild) -> None:
        match message:
            case Ready():
                self._is_ready = self.was_ready = True
            case Refused():
                self.refusal = message
            case Beat() | Ended():
                return
        self._told(message)

    async def _watch(self) -> None:
        """End the child when it has said nothing for too long."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            longest_s = self._pace.silent_s if self._is_ready else self._pace.ready_s
            if self._clock.elapsed_s() - self._heard_at_s > longest_s:
                self._tell("child.silence_noticed", child=self.kind.name)
                self.kill()
                return
