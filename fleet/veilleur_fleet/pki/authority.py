"""The certificate authority: one EC P-256 key, encrypted on disk, and what it signs. Knows no database and no network.

csr ──key_of_csr──▶ public key ─┐
holder, clock ──────────────────┴─ issue ──▶ certificate (CN = the holder's name)    revoke ──▶ CRL
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from veilleur_contracts.clock import Clock, datetime_of
from veilleur_contracts.rights import Holder
from veilleur_fleet.errors import PkiRejectedError
from veilleur_fleet.keys import PASSPHRASE_CHARACTERS_MIN, read_secret_bytes

KEY_NAME: Final = "ca-key.pem"
CA_NAME: Final = "ca.pem"
CA_LIFE: Final = timedelta(days=3650)
LIFE: Final = timedelta(days=30)
SKEW: Final = timedelta(minutes=10)
"""How far behind a box's clock may be when it gets its certificate."""
CRL_LIFE: Final = timedelta(days=35)
"""A broker refuses everybody once its CRL is too old; by then every certificate has ended too."""
CSR_CHARACTERS_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority, opened; ``repr`` shows no key.

    Attributes:
        certificate: Its own.
    """

    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        """Show nothing: it holds a key."""
        return "Authority(…)"

    @property
    def pem(self) -> str:
        """Its certificate, PEM."""
        return pem_of(self.certificate)

    @property
    def sha256(self) -> bytes:
        """What boxes know it by: the SHA-256 of its certificate (DER)."""
        return fingerprint_of(self.certificate)

    def issue(
        self, holder: Holder, key: ec.EllipticCurvePublicKey, clock: Clock, life: timedelta = LIFE
    ) -> x509.Certificate:
        """Return a client certificate: CN is the holder's name, OU its role, O its controller."""
        subject = [
            x509.NameAttribute(NameOID.COMMON_NAME, holder.name),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, holder.role.value),
        ]
        if holder.controller is not None:
            subject.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, holder.controller))
        builder = self._builder(x509.Name(subject), key, datetime_of(clock.now_ms()), life)
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        return builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())

    def issue_server(
        self, names: Sequence[str], key: ec.EllipticCurvePublicKey, clock: Clock, life: timedelta = LIFE
    ) -> x509.Certificate:
        """Return a server certificate for ``names``, host names and addresses; it cannot be used as a client's."""
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"server {names[0]}"[:64])])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = self._builder(subject, key, datetime_of(clock.now_ms()), life)
        builder = builder.add_extension(alternatives, critical=False).add_extension(usage, critical=True)
        return builder.sign(self._key, hashes.SHA256())

    def crl(self, revoked: Iterable[tuple[int, datetime]], clock: Clock) -> bytes:
        """Return the revocation list of (serial, since when), PEM."""
        now = datetime_of(clock.now_ms())
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now - SKEW)
            .next_update(now + CRL_LIFE)
            .add_extension(x509.CRLNumber(clock.now_ms()), critical=False)
            .add_extension(self._authority_id(), critical=False)
        )
        for serial, since in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - SKEW)
            .not_valid_after(now + life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_data=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(self._authority_id(), critical=False)
        )

    def _authority_id(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())


def make_authority(folder: Path, passphrase: str, clock: Clock, fleet_id: str) -> Authority:
    """Make an authority in ``folder``; its key is encrypted with ``passphrase``, mode 0600.

    Raises:
        PkiRejectedError: There is one already, the passphrase is too short, or the folder cannot be written.
    """
    if len(passphrase) < PASSPHRASE_CHARACTERS_MIN:
        message = f"the passphrase of the authority has at least {PASSPHRASE_CHARACTERS_MIN} characters"
        raise PkiRejectedError(message)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime_of(clock.now_ms())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Veilleur {fleet_id}")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_data=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode()))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(folder / KEY_NAME, secret, 0o600)
        _write_new(folder / CA_NAME, pem_of(certificate).encode(), 0o644)
    except FileExistsError:
        message = f"there is an authority in {folder} already, and boxes know it: it is never replaced by this command"
        raise PkiRejectedError(message) from None
    except OSError as error:
        message = f"cannot make an authority in {folder}: {error.strerror}"
        raise PkiRejectedError(message) from None
    return Authority(certificate, key)


def load_authority(folder: Path, passphrase: str) -> Authority:
    """Open the authority in ``folder``.

    Raises:
        PkiRejectedError: There is none, others may read its key, or the passphrase is another.
    """
    certificate = load_ca(folder)
    path = folder / KEY_NAME
    data = read_secret_bytes(path)
    try:
        key = load_pem_private_key(data, passphrase.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        message = f"{path} cannot be opened with this passphrase (VEILLEUR_FLEET_CA_PASSPHRASE_FILE)"
        raise PkiRejectedError(message) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
        message = f"{path} is not the key of {folder / CA_NAME}: restore both from the same backup"
        raise PkiRejectedError(message)
    return Authority(certificate, key)


def load_ca(folder: Path) -> x509.Certificate:
    """Read the certificate of the authority in ``folder``.

    Raises:
        PkiRejectedError: There is none.
    """
    path = folder / CA_NAME
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError:
        message = f"there is no authority in {folder}: make one with veilleur-fleet pki init"
        raise PkiRejectedError(message) from None
    except ValueError:
        message = f"{path} is no certificate: restore it from a backup"
        raise PkiRejectedError(message) from None


def fingerprint_of(certificate: x509.Certificate) -> bytes:
    """Return the SHA-256 of a certificate (DER)."""
    return certificate.fingerprint(hashes.SHA256())


def key_of_csr(pem: str) -> ec.EllipticCurvePublicKey:
    """Return the key of a certificate request, once the request proves that its maker holds the private half.

    Raises:
        PkiRejectedError: It is no request, too long, badly signed, or its key is not EC P-256.
    """
    message = "this is no certificate request of ours"
    if len(pem) > CSR_CHARACTERS_MAX:
        raise PkiRejectedError(message)
    try:
        request = x509.load_pem_x509_csr(pem.encode("ascii"))
        key = request.public_key()
        is_signed = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature, TypeError):
        raise PkiRejectedError(message) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1) or not is_signed:
        raise PkiRejectedError(message)
    return key


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new private key."""
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(certificate: x509.Certificate) -> str:
    """Return ``certificate`` in PEM."""
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def key_pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    """Return ``key`` in PEM, not encrypted: for a file that its owner alone reads."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def serial_text(certificate: x509.Certificate) -> str:
    """Return the serial number as the register keeps it."""
    return f"{certificate.serial_number:x}"


def _usage(*, signs_data: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs_data,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not signs_data,
        crl_sign=not signs_data,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError:
        message = f"{name!r} is no host name"
        raise PkiRejectedError(message) from None


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
