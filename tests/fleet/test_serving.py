"""The listeners of page and door: nobody holds one of their connections for nothing."""

import asyncio
import contextlib
import socket

import pytest

from veilleur_fleet import prompt
from veilleur_fleet.serving import Server, listen
from veilleur_fleet.settings import ListenAddress

ASKED = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
WITHIN_S = 20.0


async def slow(_scope, _receive, send) -> None:
    """Answer after longer than one may be silent."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    for _ in range(4):
        await asyncio.sleep(prompt.ASK_WITHIN_S)
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@contextlib.asynccontextmanager
async def served(**more):
    ready = asyncio.Event()
    server = Server(slow, ready.set, **more)
    with listen(ListenAddress("127.0.0.1", 0), "--listen") as listening:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listening]))
            await ready.wait()
            try:
                yield listening.getsockname()
            finally:
                server.end()


@pytest.mark.parametrize(
    ("said", "answers"),
    [
        pytest.param(b"", 0, id="nothing"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: ", 0, id="half-a-question"),
        pytest.param(ASKED + b"GET / HTT", 1, id="half-a-question-behind-a-whole-one"),
    ],
)
async def test_who_does_not_ask_in_time_is_not_waited_for(monkeypatch, said, answers) -> None:
    monkeypatch.setattr(prompt, "ASK_WITHIN_S", 0.1)
    async with served() as address, asyncio.timeout(WITHIN_S):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(said)
        heard = await reader.read()  # until the other side ends it
        assert heard.count(b"xxxx") == answers
        writer.close()


async def test_more_connections_than_there_may_be_are_answered_so() -> None:
    async with served(limit=3) as address, asyncio.timeout(WITHIN_S):
        with contextlib.ExitStack() as held:
            for _ in range(3):
                held.enter_context(socket.create_connection(address))
            reader, writer = await asyncio.open_connection(*address)
            writer.write(ASKED)
            assert (await reader.readline()).startswith(b"HTTP/1.1 503")
            writer.close()
