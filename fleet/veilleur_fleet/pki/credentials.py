"""How the fleet itself is known: its client certificate at the broker, its server certificate at the door.

Both are issued by its own authority, renewed by themselves, and kept in the data folder (mode 0600); or given as files.
"""

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509

from veilleur_contracts.clock import Clock, datetime_of
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.rights import Role, holder_of
from veilleur_fleet.errors import EnrolmentRefusedError, SettingsRejectedError
from veilleur_fleet.pki.authority import key_pem_of, new_key, pem_of, serial_text
from veilleur_fleet.pki.files import is_due, names_of, write_file
from veilleur_fleet.pki.service import Pki

FLEET_FILE: Final = "fleet-{}.pem"
DOOR_FILE: Final = "door.pem"


class GivenCredentials:
    """A client certificate that somebody else made.

    Args:
        ca: File of the authorities that the broker's certificate may come from.
        certificate: File of ours; None: the broker asks for none.
        key: File of its key; None: in the same file.
    """

    def __init__(self, ca: Path, certificate: Path | None, key: Path | None) -> None:
        self._ca = ca
        self._certificate = certificate
        self._key = key
        self.context()

    def context(self) -> ssl.SSLContext:
        """Return what to connect with, read anew each time, so that renewed files are taken.

        Raises:
            SettingsRejectedError: A file cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=str(self._ca))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self._certificate is not None:
                context.load_cert_chain(self._certificate, self._key)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            message = (
                f"the broker's certificate files cannot be used ({reason}): check VEILLEUR_FLEET_BROKER_CA, _CERT, _KEY"
            )
            raise SettingsRejectedError(message) from None
        return context


class OwnCredentials:
    """The fleet's own client certificate.

    Args:
        pki: Issues it.
        folder: Where it is kept.
        clock: What time it is.
        name: Which of the fleet's connections it is for.
    """

    def __init__(self, pki: Pki, folder: Path, clock: Clock, name: str = "main") -> None:
        self._pki = pki
        self._path = folder / FLEET_FILE.format(name)
        self._clock = clock
        self.holder = holder_of(Role.FLEET, name, None)

    def context(self) -> ssl.SSLContext:
        """Return what to connect with; a certificate that is missing, old or revoked is replaced first.

        Raises:
            PkiRejectedError: It cannot be issued.
            OSError: It cannot be kept.
        """
        if not self._is_good():
            made, key = self._pki.issue(self.holder)
            write_file(self._path, (made.pem + key).encode(), 0o600)
        context = ssl.create_default_context(cadata=self._pki.authority.pem)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._path)
        return context

    def _is_good(self) -> bool:
        held = _read(self._path)
        now_ms = self._clock.now_ms()
        if held is None or is_due(held, datetime_of(now_ms)):
            return False
        try:
            return self._pki.register.holder_of(serial_text(held), now_ms) == self.holder
        except EnrolmentRefusedError:
            return False


class DoorCredentials:
    """The server certificate of the door; those who come are asked for one, and let in without: they may have none yet.

    Args:
        pki: Issues it, and tells which certificates may come from boxes.
        folder: Where it is kept.
        names: Host names and addresses boxes reach the door at.
        clock: What time it is.
    """

    def __init__(self, pki: Pki, folder: Path, names: Sequence[str], clock: Clock) -> None:
        self._pki = pki
        self._path = folder / DOOR_FILE
        self._names = list(names)
        self._clock = clock
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.context.load_verify_locations(cadata=pki.authority.pem)
        self.context.set_alpn_protocols(["http/1.1"])
        self.context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        self.refresh()

    def refresh(self) -> None:
        """Renew the certificate when most of its life is over; connections from then on get the new one.

        Raises:
            PkiRejectedError: A name is none.
            OSError: It cannot be kept.
        """
        held = _read(self._path)
        if held is None or is_due(held, datetime_of(self._clock.now_ms())) or names_of(held) != self._names:
            key = new_key()
            made = self._pki.authority.issue_server(self._names, key.public_key(), self._clock)
            write_file(self._path, (pem_of(made) + key_pem_of(key)).encode(), 0o600)
        self.context.load_cert_chain(self._path)


Credentials = GivenCredentials | OwnCredentials


def _read(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError, RejectedError):
        return None
