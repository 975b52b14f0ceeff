"""Look names up for those who may not: the eye is given addresses, and asks no server anything."""

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from typing import Final

from veilleur_agent.starts import ADDRESSES_MAX
from veilleur_contracts.clock import Clock

LOOK_UP_WITHIN_S: Final = 5.0
LOOK_UP_EVERY_S: Final = 10.0


class Resolver:
    """Names of cameras and of the broker, and where they led last; bounded by the names it is made with.

    Args:
        hosts: For each name, host and port.
        clock: Spaces the questions.
    """

    def __init__(self, hosts: Mapping[str, tuple[str, int]], clock: Clock) -> None:
        self._hosts = dict(hosts)
        self._clock = clock
        self._asked_at_s: dict[str, float] = {}
        self._known: dict[str, tuple[str, ...]] = {}

    def names(self) -> tuple[str, ...]:
        """Return everything that has an address."""
        return tuple(self._hosts)

    def known(self, name: str) -> tuple[str, ...]:
        """Return where ``name`` led when it was looked up last."""
        return self._known.get(name, ())

    async def look_up(self, name: str) -> tuple[str, ...] | None:
        """Return where ``name`` leads now, best first; nowhere: (); None when it was asked too short a time ago."""
        now_s = self._clock.elapsed_s()
        if name not in self._hosts or now_s - self._asked_at_s.get(name, -LOOK_UP_EVERY_S) < LOOK_UP_EVERY_S:
            return None
        self._asked_at_s[name] = now_s
        host, port = self._hosts[name]
        self._known[name] = await addresses_of(host, port)
        return self._known[name]

    async def look_up_all(self) -> None:
        """Look everything up once, all at the same time."""
        await asyncio.gather(*(self.look_up(name) for name in self._hosts))


async def addresses_of(host: str, port: int) -> tuple[str, ...]:
    """Return the addresses of ``host``, which may be one already; () when nobody knows it in time."""
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        pass
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOK_UP_WITHIN_S):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(one[4][0]) for one in found))[:ADDRESSES_MAX]
