"""Keys, roots and policies for tests: a small city hall with real Ed25519 keys."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from veilleur_contracts.authority import PublicKey, RoleKeys, Root
from veilleur_contracts.envelope import DocumentType, key_id_of, seal, sign, write_envelope
from veilleur_contracts.policy_document import (
    DPO_OF,
    Contact,
    Controller,
    Opinion,
    Policy,
    Role,
    Scope,
    Stop,
    Visa,
    canonical,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ROOT_KEYS = 3


def key_of(seed: int) -> Ed25519PrivateKey:
    """Return always the same key for the same seed."""
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def key_id(key: Ed25519PrivateKey) -> str:
    return key_id_of(key.public_key().public_bytes_raw())


@dataclass
class CityHall:
    """Everybody who signs, and the root that says so."""

    keys: dict[Role, list[Ed25519PrivateKey]] = field(
        default_factory=lambda: {
            role: [key_of(10 * number + one) for one in range(ROOT_KEYS if role is Role.ROOT else 1)]
            for number, role in enumerate(Role)
        }
    )

    def root(self, version=1, **changes) -> Root:
        people = [(role, key) for role, keys in self.keys.items() for key in keys]
        root = Root(
            version=version,
            issued=NOW - timedelta(days=100),
            expires=NOW + timedelta(days=3000),
            keys={
                key_id(key): PublicKey(f"{role.value} in person", key.public_key().public_bytes_raw().hex())
                for role, key in people
            },
            roles={
                role: RoleKeys(frozenset(key_id(key) for key in keys), 2 if role is Role.ROOT else 1)
                for role, keys in self.keys.items()
            },
        )
        return msgspec.structs.replace(root, **changes)

    def signed_root(self, root=None, signers=None) -> bytes:
        return signed(root or self.root(), DocumentType.ROOT, signers or self.keys[Role.ROOT][:2])

    def signed(self, document, *roles) -> bytes:
        kind = {Policy: DocumentType.POLICY, Stop: DocumentType.STOP, Contact: DocumentType.CONTACT}[type(document)]
        return signed(document, kind, [key for role in roles for key in self.keys[role]])

    def fully_signed(self, policy) -> bytes:
        dpos = [DPO_OF[controller] for controller in policy.scope.controllers]
        return self.signed(policy, Role.CONTROLLER, Role.OPERATOR, *dpos)


def signed(document, kind, keys) -> bytes:
    envelope = seal(canonical(document), kind)
    for key in keys:
        envelope = sign(envelope, key)
    return write_envelope(envelope)


def visa_of(role, **changes) -> Visa:
    visa = Visa(role, date(2026, 4, 20), Opinion.FAVOURABLE, "Finalité statistique, données agrégées.")
    return msgspec.structs.replace(visa, **changes)


def a_policy(version=1, controllers=(Controller.VILLE,), **changes) -> Policy:
    """Return a policy like the strictest profile, with its visas, for ``controllers``."""
    policy = Policy(
        version=version,
        issued=NOW - timedelta(days=1),
        expires=NOW + timedelta(days=200),
        scope=Scope(frozenset(controllers)),
        purpose="Connaître les déplacements pour aménager la rue.",
        legal_references=("RGPD art. 6(1)(e)", "CNIL, juillet 2022"),
        decision="Délibération 2026-042.",
        visas=tuple(visa_of(DPO_OF[controller]) for controller in sorted(controllers)),
    )
    return msgspec.structs.replace(policy, **changes)
