"""Enrol this box: a one-time token in, a certificate out; every way it can fail has a sentence that says what to do.

token ─▶ whose fleet? ─▶ GET /v1/ca ─▶ is it that one? ─▶ POST /v1/enrol, believing that one alone ─▶ state folder
"""

import asyncio
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from veilleur_agent.enrolled import Enrolled, read_enrolled, write_enrolled
from veilleur_agent.errors import StartRefusedError
from veilleur_agent.mouth.asking import Answer, Doorbell
from veilleur_agent.mouth.errors import DoorRefusedError, DoorUntrustedError, Untrusted
from veilleur_agent.mouth.identity import FILE_NAME, NEXT_NAME, Identity, trusting
from veilleur_agent.settings import DoorAddress, door_of
from veilleur_contracts.clock import Clock
from veilleur_contracts.enrolment import Refusal, Token, read_fingerprint, write_fingerprint

SKEW_S: Final = 300.0
_AGAIN: Final = "ask for a new token (veilleur-fleet pki token)"
_REFUSALS: Final = {
    Refusal.TOKEN_UNKNOWN: f"the fleet does not know this token: {_AGAIN}",
    Refusal.TOKEN_USED: "this token was used already, and is good once; if that was not you, revoke the box, and "
    "ask for a new token (veilleur-fleet pki token)",
    Refusal.TOKEN_EXPIRED: f"this token is over, or another was given since: {_AGAIN}",
    Refusal.TOO_MANY: "the fleet was asked too often: try again in a minute",
    Refusal.UNAVAILABLE: "the fleet cannot answer now: try again in a minute",
}
_UNTRUSTED: Final = {
    Untrusted.AUTHORITY: "the door's certificate is not from the authority that the token names: somebody may stand "
    "between, or the fleet's authority was made anew; ask whoever runs it for its fingerprint",
    Untrusted.NAME: "the door's certificate is not for {host}: use a name it is for (VEILLEUR_FLEET_DOOR_NAMES)",
    Untrusted.CLOCK_BEHIND: "the clock of this box is behind{by}: set it, and try again",
    Untrusted.CLOCK_AHEAD: "the clock of this box is ahead{by}, or the fleet's certificate has ended: set the clock, "
    "and try again",
}


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a person gives the command.

    Attributes:
        fleet: ``https://host[:port]``.
        token: As it was printed.
        fingerprint: Of the authority, when it is given apart; None: the token's is enough.
        mouth_uid: Who must own key and certificate; None: whoever runs the command.
    """

    fleet: str
    token: str
    fingerprint: str | None = None
    mouth_uid: int | None = None

    def __repr__(self) -> str:
        """Show nothing: it holds a token."""
        return "Invitation(…)"


async def enrol(invitation: Invitation, state: Path, clock: Clock) -> Enrolled:
    """Enrol the box in ``state``; the folder is made when it is not there.

    Raises:
        RejectedError: It is no invitation, or the fleet says no; the sentence says what to do.
        DoorUnreachableError: Nobody answers.
        OSError: The state folder cannot be written.
    """
    door = _door_in(invitation)
    host, port = door.host, door.port
    token = Token.read(invitation.token)
    if invitation.fingerprint is not None and read_fingerprint(invitation.fingerprint) != token.ca_sha256:
        raise StartRefusedError("the token is of another fleet than --ca-fingerprint: one of the two was copied wrong")
    before = read_enrolled(state)
    answer = await Doorbell(host, port, _believing_anybody()).authority()
    ca = _authority_of(answer, token)
    folder = state / "mouth"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The name is not known before the fleet says it, and stands in the request for people alone.
    request = Identity(folder, before.box if before else "box").request()
    try:
        issued = await Doorbell(host, port, trusting(ca, host)).enrol(invitation.token.strip(), request)
    except DoorRefusedError as error:
        raise StartRefusedError(_REFUSALS.get(error.reason, f"the fleet refuses: {error.reason.value}")) from None
    except DoorUntrustedError as error:
        raise StartRefusedError(untrusted_sentence(error.why, host, clock.now_ms() / 1000, answer.at_s)) from None
    if before is not None and before.box != issued.box:
        raise StartRefusedError(
            f"this state folder is of box {before.box}, and holds what it counted: give {issued.box} another --state"
        )
    Identity(folder, issued.box).take(issued.certificate, ca)
    _give_to(invitation.mouth_uid, folder)
    enrolled = Enrolled(issued.box, issued.controller, f"https://{_bracketed(host)}:{port}", issued.broker, ca)
    write_enrolled(state, enrolled)
    return enrolled


def _door_in(invitation: Invitation) -> DoorAddress:
    """Return the door a person names, with the same words and the same port as everywhere.

    Raises:
        RejectedError: It is no address, or none that shows a certificate.
    """
    door = door_of(invitation.fleet)
    if door is None or door.scheme != "https":
        raise StartRefusedError("--fleet: a box enrols at a door that shows a certificate: write it with https://")
    return door


def _authority_of(answer: Answer, token: Token) -> str:
    """Return the authority's certificate (PEM), once it is the one the token names."""
    try:
        pem = answer.body.decode("ascii")
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise StartRefusedError("whoever answers there is no fleet of ours: check the address of --fleet") from None
    found = certificate.fingerprint(hashes.SHA256())
    if found != token.ca_sha256:
        raise StartRefusedError(
            f"{_UNTRUSTED[Untrusted.AUTHORITY]}; the token names {write_fingerprint(token.ca_sha256)}, "
            f"and there answers {write_fingerprint(found)}"
        )
    return pem


def _believing_anybody() -> ssl.SSLContext:
    """Return a context for the one question whose answer is checked by its hash; nothing secret is said over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def untrusted_sentence(why: Untrusted, host: str, ours_s: float, theirs_s: float | None) -> str:
    """Say why the door is not believed, and by how much the two clocks differ where that is why.

    Args:
        why: What TLS found.
        host: As a person wrote it.
        ours_s: This box's clock, UTC seconds.
        theirs_s: The fleet's, None: it did not say.
    """
    by = ""
    if theirs_s is not None and abs(ours_s - theirs_s) >= SKEW_S:
        by = f" (by {abs(ours_s - theirs_s) / 3600:.1f} hours, says the fleet)"
    return _UNTRUSTED[why].format(host=host, by=by)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _give_to(uid: int | None, folder: Path) -> None:
    if uid is not None and os.geteuid() == 0:
        for path in (folder, folder / FILE_NAME, folder / NEXT_NAME):
            if path.exists():
                os.chown(path, uid, uid)


def enrol_now(invitation: Invitation, state: Path, clock: Clock) -> Enrolled:
    """Do the same from where there is no loop; raises as ``enrol``."""
    return asyncio.run(enrol(invitation, state, clock))
