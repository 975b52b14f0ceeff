"""Take somebody's place at the broker, which ends his connection: a broker keeps one for each client id.

A broker that reads a new revocation list lets connections stand [measured, Mosquitto 2.0.11], so a revoked box would
stay for as long as it likes. The fleet comes under its name, with a certificate good for minutes, and goes.
"""

import socket
import ssl
import tempfile
from pathlib import Path
from typing import Final

from veilleur_contracts.errors import TransientError

WITHIN_S: Final = 10.0
_CONNACK_BYTES: Final = 4
_DISCONNECT: Final = b"\xe0\x00"


class EvictionFailedError(TransientError):
    """The broker did not let us take the place; it is tried again."""


def take_place(host: str, port: int, name: str, credentials: str, ca: str) -> None:
    """Connect as ``name``, be acknowledged, and leave; blocks for seconds at most.

    Args:
        host: The broker's.
        port: The broker's, for TLS.
        name: Common name in the certificate, account and client id.
        credentials: Certificate and key, PEM.
        ca: The authority's certificate, PEM.

    Raises:
        EvictionFailedError: It was not acknowledged.
    """
    try:
        context = context_of(ca, credentials)
        with (
            socket.create_connection((host, port), timeout=WITHIN_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as session,
        ):
            session.sendall(connect_packet(name))
            answer = b""
            while len(answer) < _CONNACK_BYTES:
                data = session.recv(_CONNACK_BYTES - len(answer))
                if not data:
                    break
                answer += data
            if answer != b"\x20\x02\x00\x00":
                message = f"the broker does not let the fleet take the place of {name}"
                raise EvictionFailedError(message)
            session.sendall(_DISCONNECT)
    except OSError as error:
        message = f"the broker cannot be reached to take the place of {name}: {type(error).__name__}"
        raise EvictionFailedError(message) from None


def connect_packet(name: str) -> bytes:
    """Return an MQTT 3.1.1 CONNECT with a clean session: what was kept for ``name`` goes too."""
    identifier = name.encode("ascii")
    body = b"\x00\x04MQTT\x04\x02\x00\x0a" + len(identifier).to_bytes(2, "big") + identifier
    return bytes((0x10, len(body))) + body  # a name has 64 characters at most, so one byte of length is enough


def context_of(ca: str, credentials: str) -> ssl.SSLContext:
    """Return a TLS client context that trusts ``ca`` alone and shows ``credentials`` (certificate and key, PEM)."""
    context = ssl.create_default_context(cadata=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.TemporaryDirectory(prefix="veilleur-") as folder:  # ssl reads keys from files alone
        path = Path(folder) / "credentials.pem"
        path.touch(mode=0o600)
        path.write_text(credentials)
        context.load_cert_chain(path)
    return context
