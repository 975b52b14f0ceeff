"""Ask for the next certificate before this one ends, and change over to it: a new connection, and nothing is lost.

certificate held ──due?──▶ POST /v1/renew ──▶ identity.pem ──▶ uplink connects anew
"""

import asyncio
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from veilleur_agent.events import Tell
from veilleur_agent.mouth.asking import Doorbell
from veilleur_agent.mouth.errors import (
    CertificateRejectedError,
    DoorRefusedError,
    DoorUnreachableError,
    DoorUntrustedError,
)
from veilleur_agent.mouth.identity import Identity, due_at, life_of
from veilleur_contracts.clock import Clock, datetime_of

LOOK_EVERY_S: Final = 30.0
"""The clock may be set at any time, so it is looked at again."""
TRIES_IN_A_LIFE: Final = 200
RETRY_S: Final = (0.5, 3600.0)
_HOUR_S: Final = 3600


class Renewal:
    """Renews for as long as the mouth runs.

    Args:
        identity: Key and certificate.
        ca: The authority this box believes, PEM.
        door: Host and port, as a person wrote them.
        addresses: Returns where that is now.
        changed: Called when there is a new certificate.
        lost: Asks for the door's addresses to be looked up again.
        tell: Says a registered event.
        clock: What time it is.
    """

    def __init__(
        self,
        identity: Identity,
        ca: str,
        door: tuple[str, int],
        *,
        addresses: Callable[[], tuple[str, ...]],
        changed: Callable[[], None],
        lost: Callable[[], None],
        tell: Tell,
        clock: Clock,
    ) -> None:
        self._identity = identity
        self._ca = ca
        self._door = door
        self._addresses = addresses
        self._changed = changed
        self._lost = lost
        self._tell = tell
        self._clock = clock
        self._told: str | None = None
        self._turn = 0

    async def run(self) -> None:
        """Renew when it is time, for ever."""
        while True:
            held = await asyncio.to_thread(self._identity.held)
            if held is None:
                self._say("unusable")
                await asyncio.sleep(LOOK_EVERY_S)
                continue
            left_s = (due_at(held) - self._now()).total_seconds()
            if left_s > 0:
                await asyncio.sleep(min(left_s, LOOK_EVERY_S))
            elif not await self._renew(held):
                await asyncio.sleep(_retry_s(life_of(held)) * random.SystemRandom().uniform(0.5, 1.5))

    async def _renew(self, held: x509.Certificate) -> bool:
        try:
            request = await asyncio.to_thread(self._identity.request)
            bell = await asyncio.to_thread(self._bell)
            issued = await bell.renew(request)
            certificate = await asyncio.to_thread(self._identity.take, issued.certificate, self._ca)
        except DoorUnreachableError:
            self._turn += 1
            self._lost()
            self._say("ended" if self._now() >= held.not_valid_after_utc else "unreachable")
        except DoorRefusedError as error:
            self._say(error.reason.value)
        except DoorUntrustedError as error:
            self._say(error.why.value)
        except CertificateRejectedError:
            self._say("unusable")
        except OSError:
            self._say("disk")
        else:
            self._told = None
            left_s = (certificate.not_valid_after_utc - self._now()).total_seconds()
            self._tell("certificate.renewed", hours_left=int(left_s // _HOUR_S))
            self._changed()
            return True
        return False

    def _bell(self) -> Doorbell:
        host, port = self._door
        addresses = self._addresses()
        if not addresses:
            raise DoorUnreachableError("nobody knows where the fleet's door is")
        context = self._identity.context(self._ca, host)
        return Doorbell(host, port, context, addresses[self._turn % len(addresses)])

    def _say(self, reason: str) -> None:
        """Tell why there is no new certificate, once for each reason."""
        if reason != self._told:
            self._told = reason
            self._tell("certificate.not_renewed", reason=reason)

    def _now(self) -> datetime:
        return datetime_of(self._clock.now_ms())


def _retry_s(life: timedelta) -> float:
    shortest, longest = RETRY_S
    return min(longest, max(shortest, life.total_seconds() / TRIES_IN_A_LIFE))
