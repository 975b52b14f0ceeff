"""Who may sign what: the root document, its rotation, and the verification of everything signed under it.

    pinned root ─▶ root 2 ─▶ root 3      each signed by the threshold of the one before and its own
                               │ keys and thresholds
                               ▼
           envelope ──▶ verify ──▶ Verified(policy, signers, what changed)

No file, no clock, no network: bytes and ``now`` come in, a value or a named refusal comes out.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final

from msgspec import Meta

from veilleur_contracts.envelope import (
    DocumentType,
    Envelope,
    check_public_key,
    key_id_of,
    read_envelope,
    signers_of,
)
from veilleur_contracts.ids import Sha256
from veilleur_contracts.policy_change import Change, Requirement, compare, who_must_sign
from veilleur_contracts.policy_document import (
    DPO_OF,
    DPO_ROLES,
    PLAIN_TEXT,
    Closed,
    Contact,
    Instant,
    MalformedDocumentError,
    Policy,
    PolicyRejectedError,
    Role,
    Scope,
    Stop,
    Version,
    check_instant,
    check_policy,
    decode_document,
    document_sha256,
)

ROOT_BYTES_MAX: Final = 65_536
ROOT_THRESHOLD_MIN: Final = 2
CLOCK_SLACK: Final = timedelta(hours=1)
"""How far the signer's clock may be ahead of ours."""


class OlderError(PolicyRejectedError):
    """A version we already have, or an older one."""


class ExpiredError(PolicyRejectedError):
    """It held once, and no longer does."""


class NotYetError(PolicyRejectedError):
    """It will hold later, or our clock is wrong."""


class UnderSignedError(PolicyRejectedError):
    """Genuine, but somebody who must sign it has not."""


class UnknownKeyError(PolicyRejectedError):
    """Signed by keys that the root does not know."""


class PublicKey(Closed, frozen=True):
    """One person's or machine's key.

    Attributes:
        holder: Whose it is, as a person would say it.
        public: Raw Ed25519 public key, hexadecimal.
    """

    holder: Annotated[str, Meta(min_length=1, max_length=100, pattern=PLAIN_TEXT)]
    public: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class RoleKeys(Closed, frozen=True):
    """Which keys stand for a role, and how many of them must sign."""

    keys: Annotated[frozenset[Sha256], Meta(min_length=1, max_length=16)]
    threshold: Annotated[int, Meta(ge=1, le=16)] = 1


class Root(Closed, frozen=True):
    """Whose signature means what; signed offline by two of three root keys, pinned at enrolment."""

    version: Version
    issued: Instant
    expires: Instant
    keys: Annotated[dict[Sha256, PublicKey], Meta(max_length=64)]
    roles: dict[Role, RoleKeys]

    def public_keys(self, *roles: Role) -> dict[str, bytes]:
        """Return the raw public keys of ``roles``, by id; of every role when none is named."""
        wanted = roles or tuple(self.roles)
        ids = set().union(*(self.roles[role].keys for role in wanted if role in self.roles))
        return {one: bytes.fromhex(self.keys[one].public) for one in ids}

    def roles_signed(self, signers: frozenset[str]) -> frozenset[Role]:
        """Return the roles whose threshold ``signers`` reach."""
        return frozenset(role for role, held in self.roles.items() if len(held.keys & signers) >= held.threshold)


class Verified(Closed, frozen=True):
    """A policy that may be put in force.

    Attributes:
        policy: What it says.
        sha256: Of its canonical bytes.
        signers: The roles that signed it.
        change: What it changes against the one before.
    """

    policy: Policy
    sha256: Sha256
    signers: frozenset[Role]
    change: Change


def check_root(root: Root) -> None:
    """Refuse a root that one person could use alone or that contradicts itself.

    Raises:
        MalformedDocumentError: A role is missing or asks for more keys than it has, fewer than two of root's keys are
            asked for, a key's id is not its own, one key stands for two roles, or dates are the wrong way round.
    """
    for at in (root.issued, root.expires):
        check_instant(at)
    if root.expires <= root.issued:
        _refuse("the root expires before it is issued")
    for key_id, key in root.keys.items():
        check_public_key(bytes.fromhex(key.public))
        if key_id != key_id_of(bytes.fromhex(key.public)):
            _refuse(f"the root gives the key of {key.holder} an id that is not its own")
    _check_roles(root)
    missing = {Role.ROOT, Role.CONTROLLER, Role.OPERATOR, *DPO_ROLES} - root.roles.keys()
    if missing:
        _refuse(f"the root gives nobody the role {', '.join(sorted(missing))}")
    if root.roles[Role.ROOT].threshold < ROOT_THRESHOLD_MIN:
        _refuse(f"the root must ask for at least {ROOT_THRESHOLD_MIN} of its keys")


def _check_roles(root: Root) -> None:
    held_by: dict[str, Role] = {}
    for role, held in root.roles.items():
        if held.threshold > len(held.keys):
            _refuse(f"role {role.value} asks for {held.threshold} of {len(held.keys)} keys; nobody could sign")
        for key_id in held.keys:
            if key_id not in root.keys:
                _refuse(f"role {role.value} names the key {key_id[:12]}, which the root does not hold")
            if key_id in held_by:
                _refuse(f"one key stands for {held_by[key_id].value} and {role.value}; two roles need two people")
            held_by[key_id] = role


def read_root(data: bytes, before: Root | None) -> Root:
    """Read a root and verify it.

    Args:
        data: An envelope.
        before: The root it follows; None when this one is pinned, which is trusting it.

    Raises:
        PolicyRejectedError: Forged, older or skipping a version, under-signed by the old keys or the new, malformed.
    """
    envelope = read_envelope(data, DocumentType.ROOT)
    root = decode_document(envelope.content(), Root, ROOT_BYTES_MAX)
    check_root(root)
    for authority in (before, root):
        if authority is None:
            continue
        signers = signers_of(envelope, authority.public_keys(Role.ROOT))
        held = authority.roles[Role.ROOT]
        if len(signers) < held.threshold:
            whose = "its own" if authority is root else "the former"
            message = f"root {root.version} has {len(signers)} of the {held.threshold} signatures of {whose} root keys"
            raise UnderSignedError(message)
    if before is not None and root.version != before.version + 1:
        message = f"root {root.version} cannot follow root {before.version}; offer root {before.version + 1}"
        raise OlderError(message)
    return root


def verify(envelope: bytes, root: Root, now: datetime, current: Policy | None = None) -> Verified:
    """Verify a policy that is to be put in force, and say what it changes.

    Args:
        envelope: As it came.
        root: Whose signature means what.
        now: UTC.
        current: The policy it would replace; None: none, so that it must carry every signature.

    Raises:
        TruncatedDocumentError, MalformedDocumentError, WrongTypeError, ForgedError, UnknownKeyError: The bytes.
        OlderError: Not newer than ``current``.
        ExpiredError, NotYetError: ``now`` lies outside its validity, or the root's.
        UnderSignedError: It loosens something and a signature or a visa is missing, or nobody signed it.
    """
    verified = examine(envelope, root, current)
    policy = verified.policy
    check_validity(policy.issued, policy.expires, now, f"policy {policy.version}")
    check_validity(root.issued, root.expires, now, f"root {root.version}")
    return verified


def examine(envelope: bytes, root: Root, current: Policy | None = None) -> Verified:
    """Verify a policy as ``verify`` does, its dates apart: for one that was in force before a restart."""
    read = read_envelope(envelope, DocumentType.POLICY)
    signers = signers_of(read, root.public_keys())
    content = read.content()
    policy = decode_document(content, Policy)
    check_policy(policy)
    if current is not None and policy.version <= current.version:
        message = f"policy {policy.version} is older than policy {current.version}, which is in force"
        if policy.version == current.version:
            message = f"policy {policy.version} is in force already; give a new one a higher version"
        raise OlderError(message)
    change = compare(current, policy)
    roles = root.roles_signed(signers)
    before = policy.scope.controllers if current is None else current.scope.controllers
    requirement = who_must_sign(change, Scope(policy.scope.controllers | before))
    check_signed(read, requirement, roles, root)
    _check_visas(policy, current, change, roles)
    return Verified(policy, document_sha256(content), roles, change)


def verify_stop(envelope: bytes, root: Root) -> tuple[Stop, str]:
    """Verify a DPO's stop; it needs no other signature and never expires.

    Returns:
        The stop and the SHA-256 of its canonical bytes, by which a policy lifts it.

    Raises:
        PolicyRejectedError: As ``verify``; under-signed when the DPO it names has not signed it.
    """
    read = read_envelope(envelope, DocumentType.STOP)
    signers = signers_of(read, root.public_keys())
    content = read.content()
    stop = decode_document(content, Stop)
    check_instant(stop.issued)
    if stop.role not in DPO_ROLES:
        _refuse(f"a stop is ordered by a DPO, not by {stop.role.value}")
    check_signed(read, Requirement(frozenset({stop.role})), root.roles_signed(signers), root)
    return stop, document_sha256(content)


def verify_contact(envelope: bytes, root: Root, now: datetime) -> Contact:
    """Verify a word from the fleet; its key can say only this.

    Raises:
        PolicyRejectedError: As ``verify``.
    """
    read = read_envelope(envelope, DocumentType.CONTACT)
    signers = signers_of(read, root.public_keys())
    contact = decode_document(read.content(), Contact)
    check_instant(contact.at)
    if contact.at > now + CLOCK_SLACK:
        message = f"word from the fleet dated {contact.at.isoformat()}, which is still to come: check the clock"
        raise NotYetError(message)
    check_signed(read, Requirement(frozenset({Role.FLEET})), root.roles_signed(signers), root)
    return contact


def check_signed(envelope: Envelope, requirement: Requirement, roles: frozenset[Role], root: Root) -> None:
    """Refuse a document without the signatures it needs.

    Raises:
        UnknownKeyError: They are missing, and there are signatures of keys the root does not know.
        UnderSignedError: They are missing.
    """
    if requirement.is_met_by(roles):
        return
    unknown = [line.keyid for line in envelope.signatures if line.keyid not in root.keys]
    if unknown:
        message = (
            f"signed by the key {unknown[0][:12]}, which root {root.version} does not know:"
            f" {requirement.sentence(roles)}"
        )
        raise UnknownKeyError(message)
    raise UnderSignedError(requirement.sentence(roles))


def check_validity(issued: datetime, expires: datetime, now: datetime, what: str) -> None:
    """Refuse a document outside its dates.

    Raises:
        ExpiredError: ``now`` is past the end.
        NotYetError: ``now`` is before the beginning.
    """
    if now >= expires:
        message = f"{what} expired at {expires.isoformat()}; sign a new one"
        raise ExpiredError(message)
    if now < issued - CLOCK_SLACK:
        message = f"{what} holds from {issued.isoformat()} and it is {now.isoformat()} here; check the clock"
        raise NotYetError(message)


def keys_by_holder(root: Root) -> Mapping[str, str]:
    """Return whose each key is, by id."""
    return {key_id: key.holder for key_id, key in root.keys.items()}


def _check_visas(policy: Policy, current: Policy | None, change: Change, roles: frozenset[Role]) -> None:
    """Refuse an opinion that its DPO has not signed, and a loosening without the opinion of each competent DPO."""
    known = () if current is None else current.visas
    for visa in policy.visas:
        if visa not in known and visa.role not in roles:
            message = f"policy {policy.version} tells an opinion of {visa.role.value} that they have not signed"
            raise UnderSignedError(message)
    given = {visa.role for visa in policy.visas}
    for controller in sorted(policy.scope.controllers) if change.loosened else ():
        if DPO_OF[controller] not in given:
            message = (
                f"policy {policy.version} loosens something for {controller.value}"
                f" and carries no visa of {DPO_OF[controller].value}; add their opinion"
            )
            raise UnderSignedError(message)


def _refuse(message: str) -> None:
    raise MalformedDocumentError(message)
