"""A door that answers as a test says: HTTP/1.1 over real sockets, well or badly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class DoorDouble:
    """Answers each address with the next answer in its list, the last one for ever; remembers what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, list[bytes]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.port = 0
        self.hangs = asyncio.Event()

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
            path = head[0].split(" ")[1]
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            self.asked.append((path, headers))
            answers = self.answers.get(path, [NOT_THERE])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if answer is ENDLESS:
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                while not writer.is_closing():
                    writer.write(b"x" * 65_536)
                    await writer.drain()
            writer.write(answer.removesuffix(HANG))
            await writer.drain()
            if answer.endswith(HANG):
                await self.hangs.wait()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def whole(body: bytes, *, status: str = "200 OK", more: str = "", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n{more}\r\n"
    return head.encode("ascii") + body


HANG = b"#hang#"
ENDLESS = b"#endless#"
NOT_THERE = whole(b"no\n", status="404 Not Found")


@asynccontextmanager
async def door_double() -> AsyncIterator[DoorDouble]:
    door = DoorDouble()
    server = await asyncio.start_server(door.serve, "127.0.0.1", 0)
    door.port = server.sockets[0].getsockname()[1]
    try:
        yield door
    finally:
        door.hangs.set()
        server.close()
