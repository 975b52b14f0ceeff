"""How a part that was started by another ends: on SIGTERM or SIGINT, or when the parent is gone and stdin with it."""

import asyncio
import os
import signal
import stat
from typing import Final

STDIN_FD: Final = 0


def end_of_life() -> asyncio.Event:
    """Return an event of the running loop that is set when this process should end."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)

    def look() -> None:
        if not os.read(STDIN_FD, 1024):
            loop.remove_reader(STDIN_FD)
            over.set()

    # only a pipe says that somebody holds the other end; a terminal or a file does not
    if stat.S_ISFIFO(os.fstat(STDIN_FD).st_mode):
        loop.add_reader(STDIN_FD, look)
    return over
