"""A TCP proxy on the loopback that does to a connection what networks do: delay, throttle, cut, leave half open.

client ──▶ FaultProxy ──▶ target
               │
               └─ delayed · throttled · cut (reset, refused until mended) · silent (open, nothing passes)
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import IO, Final, Literal, Protocol

from veilleur_simulator.processes import LOOPBACK

CHUNK_BYTES: Final = 16_384
CONNECTIONS_MAX: Final = 256
START_WITHIN_S: Final = 5.0
LINGER_NOT: Final = struct.pack("ii", 1, 0)
"""``struct linger``: on close, drop what is unsent and reset."""

Way = Literal["open", "cut", "silent"]


@dataclass(frozen=True, slots=True)
class Faults:
    """What happens to bytes, in both directions.

    Attributes:
        way: ``open``: they pass; ``cut``: connections are reset and new ones too; ``silent``: connections are accepted
            and kept, and nothing passes (a half-open path).
        delay_s: How late each chunk passes.
        bytes_per_s: How many pass in a second, per direction and connection; None: as many as can.
    """

    way: Way = "open"
    delay_s: float = 0.0
    bytes_per_s: float | None = None


class Filter(Protocol):
    """Changes what passes on one connection."""

    def out(self, chunk: bytes) -> bytes:
        """Return what goes on to the target."""
        ...

    def back(self, chunk: bytes) -> tuple[bytes, bytes]:
        """Return what goes on to the client, and what the target is told in its place."""
        ...


class FaultProxy:
    """The proxy, on a running loop; ``proxy_to`` runs one beside synchronous code.

    Args:
        target_host: Where connections are handed on to.
        target_port: The port there.
        tap: Where every byte that passes, either way, is written down.
        filters: Makes the filter of each new connection; None: everything passes as it is.
    """

    def __init__(
        self,
        target_host: str,
        target_port: int,
        tap: IO[bytes] | None = None,
        filters: Callable[[], Filter] | None = None,
    ) -> None:
        self._target = (target_host, target_port)
        self._tap = tap
        self._filters = filters
        self._faults = Faults()
        self._changed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.bytes_passed = 0
        self.connections = 0

    async def start(self) -> None:
        """Listen on a free port of the loopback."""
        self._server = await asyncio.start_server(self._joined, LOOPBACK, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Reset every connection and listen no more."""
        if self._server is not None:
            self._server.close()
            self.apply(replace(self._faults, way="cut"))
            await self._server.wait_closed()

    def apply(self, faults: Faults) -> None:
        """Do this from now on, to connections that are there as well."""
        self._faults = faults
        self._changed.set()
        self._changed = asyncio.Event()
        if faults.way == "cut":
            for writer in tuple(self._writers):
                _reset(writer)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            if self._faults.way == "cut" or len(self._writers) > CONNECTIONS_MAX:
                _reset(writer)
                return
            await self._connect(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        self._writers.add(far_writer)
        one = None if self._filters is None else self._filters()

        def back(chunk: bytes) -> bytes:
            if one is None:
                return chunk
            passed, told = one.back(chunk)
            if told:
                with contextlib.suppress(RuntimeError):  # the client has said its last word, and so have we for it
                    far_writer.write(told)
            return passed

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, far_writer, bytes if one is None else one.out), name="proxy-out")
                group.create_task(self._pass(far_reader, writer, back), name="proxy-back")
        finally:
            self._writers.discard(far_writer)
            far_writer.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes]
    ) -> None:
        """Hand on what comes, as ``change`` makes it, until one side ends."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: a filter cannot read it, so the line goes dead
            while chunk := await reader.read(CHUNK_BYTES):
                while self._faults.way == "silent":
                    await self._changed.wait()
                faults = self._faults
                if faults.delay_s:
                    await asyncio.sleep(faults.delay_s)
                if faults.bytes_per_s:
                    await asyncio.sleep(len(chunk) / faults.bytes_per_s)
                writer.write(change(chunk))
                if self._tap is not None:
                    self._tap.write(chunk)
                await writer.drain()
                self.bytes_passed += len(chunk)
        if not writer.is_closing() and writer.can_write_eof():
            with contextlib.suppress(OSError):
                writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST, as a line that is cut would, rather than in good order."""
    wire: socket.socket | None = writer.get_extra_info("socket")
    if wire is not None and wire.fileno() >= 0:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    writer.transport.abort()


class ProxyBeside:
    """A ``FaultProxy`` in a thread of its own, for synchronous code."""

    def __init__(self, proxy: FaultProxy, loop: asyncio.AbstractEventLoop) -> None:
        self._proxy, self._loop = proxy, loop

    @property
    def port(self) -> int:
        """Where it listens on the loopback."""
        return self._proxy.port

    @property
    def connections(self) -> int:
        """How many connections have come, refused ones included."""
        return self._proxy.connections

    def delay(self, seconds: float) -> None:
        """Let every chunk pass this late."""
        self._apply(lambda faults: replace(faults, delay_s=seconds))

    def throttle(self, bytes_per_s: float | None) -> None:
        """Let so many bytes pass in a second."""
        self._apply(lambda faults: replace(faults, bytes_per_s=bytes_per_s))

    def cut(self) -> None:
        """Reset every connection, and new ones too, until ``mend``."""
        self._apply(lambda faults: replace(faults, way="cut"))

    def fall_silent(self) -> None:
        """Keep every connection open and let nothing pass, until ``mend``."""
        self._apply(lambda faults: replace(faults, way="silent"))

    def mend(self) -> None:
        """Let everything pass again, at once."""
        self._apply(lambda _: Faults())

    def _apply(self, change: Callable[[Faults], Faults]) -> None:
        async def on_loop() -> None:
            self._proxy.apply(change(self._proxy._faults))  # noqa: SLF001 - the two halves of one thing

        self._run(on_loop())

    def _run(self, work: Awaitable[None]) -> None:
        async def whole() -> None:
            await work

        asyncio.run_coroutine_threadsafe(whole(), self._loop).result(START_WITHIN_S)


@contextlib.contextmanager
def proxy_to(
    port: int,
    host: str = LOOPBACK,
    tap: IO[bytes] | None = None,
    filters: Callable[[], Filter] | None = None,
) -> Iterator[ProxyBeside]:
    """Run a proxy to ``host:port`` for as long as the block lasts; see ``FaultProxy``."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fault-proxy", daemon=True)
    thread.start()
    try:
        starting = _started(FaultProxy(host, port, tap, filters))
        proxy = asyncio.run_coroutine_threadsafe(starting, loop).result(START_WITHIN_S)
        try:
            yield ProxyBeside(proxy, loop)
        finally:
            asyncio.run_coroutine_threadsafe(_wound_up(proxy), loop).result(START_WITHIN_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_WITHIN_S)
        loop.close()


async def _started(proxy: FaultProxy) -> FaultProxy:
    await proxy.start()
    return proxy


async def _wound_up(proxy: FaultProxy) -> None:
    """Stop ``proxy`` and wait for what it had begun."""
    await proxy.stop()
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
