"""Where each camera is: its address from box, its password from the secrets, and the capture that reads it.

The eye looks no name up: it connects to the addresses it was given, in turn, and asks box again when nobody answers.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from veilleur_agent.eye.address import Address, CameraUnreachableError, Kind, address_of
from veilleur_agent.eye.capture import Capture
from veilleur_agent.eye.settings import EyeSettings
from veilleur_agent.eye.source import Source, open_source
from veilleur_contracts.clock import Clock
from veilleur_contracts.messages import CameraState
from veilleur_contracts.site import Camera

ASK_AGAIN_S: Final = 15.0
UNREACHED: Final = frozenset({CameraState.CONNECTING, CameraState.BACKOFF, CameraState.STALLED})


class Doorway:
    """One camera's way in: opens it at the addresses that box has given, one after the other.

    Args:
        camera: Its place in the site.
        password: Its password.
        clock: Spaces the questions to box.
    """

    def __init__(self, camera: Camera, password: str | None, clock: Clock) -> None:
        self.address = address_of(camera.source, name=f"camera {camera.id}", user=camera.user, password=password)
        self.is_remote = self.address.kind in {Kind.RTSP, Kind.HTTP}
        self._clock = clock
        self._addresses: tuple[str, ...] = ()
        self._tries = 0
        self._asked_at_s = clock.elapsed_s()

    def lead_to(self, addresses: tuple[str, ...]) -> None:
        """Take note of where the camera is, from the next connection on."""
        self._addresses = addresses

    def open(self, address: Address) -> Source:
        """Connect.

        Raises:
            CameraError: It gives no picture now.
        """
        if not self.is_remote:
            return open_source(address)
        if not self._addresses:
            raise CameraUnreachableError(f"{address.name} has no address: its host name leads nowhere")
        self._tries += 1
        return open_source(address_at(address, self._addresses[self._tries % len(self._addresses)]))

    def should_ask(self, state: CameraState) -> bool:
        """Tell whether to have its name looked up again."""
        now_s = self._clock.elapsed_s()
        if not self.is_remote or state not in UNREACHED or now_s - self._asked_at_s < ASK_AGAIN_S:
            return False
        self._asked_at_s = now_s
        return True


def address_at(address: Address, ip: str) -> Address:
    """Return ``address`` with the host's name replaced by ``ip``, so that nothing has to be looked up."""
    parts = urlsplit(address.text)
    host = f"[{ip}]" if ipaddress.ip_address(ip).version == 6 else ip  # noqa: PLR2004 - the version's own name
    netloc = host if parts.port is None else f"{host}:{parts.port}"
    return replace(address, text=urlunsplit(parts._replace(netloc=netloc)))


def capture_of(camera: Camera, doorway: Doorway, clock: Clock, fresh: Callable[[], None]) -> Capture:
    """Return the capture of one camera, not started."""
    return Capture(
        camera.id,
        doorway.address,
        fps=camera.fps,
        clock=clock,
        loop=camera.loop,
        fresh=fresh,
        connect=doorway.open,
    )


def doorway_of(camera: Camera, settings: EyeSettings, clock: Clock) -> Doorway:
    """Return the way into one camera."""
    password = None if camera.secret is None else settings.passwords[camera.secret]
    return Doorway(camera, password, clock)
