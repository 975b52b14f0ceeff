"""The box's key and certificate, in the mouth's own folder (mode 0600), and how it shows them.

    next_key ──request_for──▶ fleet ──certificate──▶ take ──▶ identity.pem (replaced whole) ──▶ context

The key is made here and never leaves; each certificate has a key of its own.
"""

import contextlib
import random
import socket
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from veilleur_agent.atomic import replace_file
from veilleur_agent.mouth.errors import CertificateRejectedError
from veilleur_contracts.enrolment import RENEW_AFTER

FILE_NAME: Final = "identity.pem"
NEXT_NAME: Final = "identity-next.pem"
FILE_BYTES_MAX: Final = 16_384
JITTER: Final = 1 / 12
"""Of a certificate's life, at most, by which a renewal comes later: boxes enrolled in one day need not come in one."""


class Identity:
    """Key and certificate of one box, on disk.

    Args:
        folder: The mouth's own.
        box: Its name, which every certificate must bear.
    """

    def __init__(self, folder: Path, box: str) -> None:
        self._path = folder / FILE_NAME
        self._next = folder / NEXT_NAME
        self._box = box

    def held(self) -> x509.Certificate | None:
        """Return the certificate; None: there is none that can be read."""
        try:
            return x509.load_pem_x509_certificate(_read(self._path))
        except (OSError, ValueError):
            return None

    def request(self) -> str:
        """Return a certificate request (PEM) for the next key; the same key until its certificate was taken.

        Raises:
            OSError: The key cannot be kept.
        """
        key = self._next_key()
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self._box)])
        signed = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        return signed.public_bytes(Encoding.PEM).decode("ascii")

    def take(self, pem: str, ca: str) -> x509.Certificate:
        """Put a certificate for the next key in the place of the one held.

        Raises:
            CertificateRejectedError: It is for another key or box, or not from this authority.
            OSError: It cannot be kept; the one held still is.
        """
        key = self._next_key()
        try:
            certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
            certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.encode("ascii")))
        except (ValueError, TypeError, InvalidSignature):
            raise CertificateRejectedError("the fleet gave no certificate of its authority") from None
        if certificate.public_key() != key.public_key() or name_in(certificate) != self._box:
            raise CertificateRejectedError("the fleet gave a certificate for another box or key")
        replace_file(self._path, certificate.public_bytes(Encoding.PEM) + _pem_of(key))
        with contextlib.suppress(OSError):
            self._next.unlink()
        return certificate

    def context(self, ca: str, host: str) -> ssl.SSLContext:
        """Return what to connect to ``host`` with, whatever the address: its certificate must name it.

        Raises:
            CertificateRejectedError: Key or certificate cannot be used.
        """
        context = trusting(ca, host)
        try:
            context.load_cert_chain(self._path)
        except OSError:
            raise CertificateRejectedError("this box has no certificate that can be used") from None
        return context

    def _next_key(self) -> ec.EllipticCurvePrivateKey:
        with contextlib.suppress(OSError, ValueError):
            key = load_pem_private_key(_read(self._next), None)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return key
        key = ec.generate_private_key(ec.SECP256R1())
        replace_file(self._next, _pem_of(key))
        return key


def trusting(ca: str, host: str) -> ssl.SSLContext:
    """Return a context that believes ``ca`` alone and looks for ``host`` in what it signed."""
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca)
    context.host = host
    return context


class _NamedContext(ssl.SSLContext):
    """Connects to an address and checks a name: box looks names up, and the mouth is given addresses."""

    host: str

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **named: Any) -> ssl.SSLSocket:
        """Do as ssl does, with our name in the place of any other."""
        return super().wrap_socket(sock, *arguments, **{**named, "server_hostname": self.host})

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the form of ssl, which calls it
        server_hostname: str | bytes | None = None,  # noqa: ARG002 - ours is told instead of it
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Do as ssl does, with our name in the place of any other."""
        return super().wrap_bio(incoming, outgoing, server_side, self.host, session)


def name_in(certificate: x509.Certificate) -> str:
    """Return the common name of ``certificate``; empty when there is none."""
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def due_at(certificate: x509.Certificate) -> datetime:
    """Return when the next certificate is asked for: at two thirds of this one's life, and a little later for some.

    The same for the same certificate, so that a restart changes nothing.
    """
    life = life_of(certificate)
    later = random.Random(certificate.serial_number).uniform(0.0, JITTER)  # noqa: S311 - spreads, hides nothing
    return certificate.not_valid_before_utc + life * (RENEW_AFTER + later)


def life_of(certificate: x509.Certificate) -> timedelta:
    """Return how long ``certificate`` lives in all."""
    return certificate.not_valid_after_utc - certificate.not_valid_before_utc


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(FILE_BYTES_MAX)


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
