"""The folder that the broker reads: its configuration, its own certificate, the access list and the revocation list.

register ──▶ acl, crl.pem, broker.pem ──▶ run.sh sees the change, SIGHUP ──▶ Mosquitto reads them again
"""

import contextlib
import os
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from veilleur_contracts.clock import Clock, datetime_of
from veilleur_contracts.enrolment import RENEW_AFTER
from veilleur_fleet.errors import PkiRejectedError
from veilleur_fleet.pki.authority import key_pem_of, new_key, pem_of
from veilleur_fleet.pki.mosquitto import ACL, CA, CERTIFICATE, CONFIGURATION, CRL, KEY, RELOADER, RUN, Told, acl
from veilleur_fleet.pki.service import Pki

CRL_EVERY_MS: Final = 86_400_000


class BrokerFiles:
    """Keeps the folder as the register says; each file is replaced whole.

    Args:
        folder: The folder; ``lay_out`` makes it.
        pki: Who may be let in.
        clock: What time it is.
        told: What services are told.
    """

    def __init__(self, folder: Path, pki: Pki, clock: Clock, told: Told = lambda _service, _controller: ()) -> None:
        self._folder = folder
        self._pki = pki
        self._clock = clock
        self._told = told
        self._written: tuple[tuple[str, ...], int] | None = None

    def lay_out(self, configuration: str, names: Sequence[str]) -> None:
        """Make the folder, with a certificate for a broker called ``names``.

        Raises:
            PkiRejectedError: It cannot be written.
        """
        try:
            (self._folder / "data").mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(self._folder / CONFIGURATION, configuration.encode(), 0o644)
            write_file(self._folder / RELOADER, RUN.encode(), 0o755)
            write_file(self._folder / CA, self._pki.authority.pem.encode(), 0o644)
            key = self._key()
            certificate = self._pki.authority.issue_server(names, key.public_key(), self._clock)
            write_file(self._folder / CERTIFICATE, pem_of(certificate).encode(), 0o644)
            self.refresh()
        except OSError as error:
            message = f"cannot write the broker's folder {self._folder}: {error.strerror}"
            raise PkiRejectedError(message) from None

    def refresh(self) -> bool:
        """Write what has changed; tell whether anything has.

        Raises:
            OSError: The folder is not there or cannot be written.
            PkiRejectedError: A file in it is damaged.
        """
        now_ms = self._clock.now_ms()
        changed = self._replace(ACL, acl(self._pki.register.holders(now_ms), self._told).encode())
        serials = tuple(one.serial for one in self._pki.register.revoked(now_ms))
        if self._written is None or self._written[0] != serials or now_ms - self._written[1] > CRL_EVERY_MS:
            write_file(self._folder / CRL, self._pki.crl(), 0o644)
            self._written, changed = (serials, now_ms), True
        return self._renew() or changed

    def _renew(self) -> bool:
        """Renew the broker's certificate, for the same names and key, when most of its life is over."""
        path = self._folder / CERTIFICATE
        if not path.exists():
            return False
        try:
            held = x509.load_pem_x509_certificate(path.read_bytes())
        except ValueError:
            message = f"{path} is no certificate: lay the broker's folder out again with veilleur-fleet broker config"
            raise PkiRejectedError(message) from None
        if not is_due(held, datetime_of(self._clock.now_ms())):
            return False
        fresh = self._pki.authority.issue_server(names_of(held), self._key().public_key(), self._clock)
        write_file(path, pem_of(fresh).encode(), 0o644)
        return True

    def _replace(self, name: str, data: bytes) -> bool:
        path = self._folder / name
        if path.exists() and path.read_bytes() == data:
            return False
        write_file(path, data, 0o644)
        return True

    def _key(self) -> ec.EllipticCurvePrivateKey:
        path = self._folder / KEY
        if path.exists():
            try:
                key = load_pem_private_key(path.read_bytes(), None)
            except (ValueError, TypeError):
                message = f"{path} is no key, or is encrypted: move it away and lay the broker's folder out again"
                raise PkiRejectedError(message) from None
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return key
        made = new_key()
        write_file(path, key_pem_of(made).encode(), 0o600)
        return made


def is_due(certificate: x509.Certificate, now: datetime) -> bool:
    """Tell whether two thirds of a certificate's life are over."""
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return now >= certificate.not_valid_before_utc + life * RENEW_AFTER


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the host names and addresses that a server's certificate is for."""
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in found]


def write_file(path: Path, data: bytes, mode: int) -> None:
    """Put ``data`` in the place of ``path``, whole or not at all.

    Raises:
        OSError: The disk refused; ``path`` still holds what it held.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
