"""Privacy reports for tests: one in which everything holds, to be spoilt fact by fact; and boxes that send them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit_builders import chained
from veilleur_contracts.audit import BoxStarted, Process, ReportMade, origin_of
from veilleur_contracts.audit_copy import AuditPart, encode_part
from veilleur_contracts.envelope import read_envelope
from veilleur_contracts.merkle import leaf_hash, root_of, subtrees_of
from veilleur_contracts.notes import BY_LOG, Checkpoint, VerifierKey, sign_checkpoint, verifier_of
from veilleur_contracts.policy_document import document_sha256
from veilleur_contracts.report import (
    AccessFacts,
    AuditFacts,
    CameraFacts,
    ConfinementFacts,
    Destination,
    EgressFacts,
    Identity,
    Law,
    ModelFacts,
    Opinion,
    Permitted,
    RedactionFacts,
    Report,
    RetentionFacts,
    Said,
    TrialFacts,
    Why,
    sign_report,
)
from veilleur_contracts.report_checks import judged, results_of
from veilleur_contracts.topics import Up, up_topic
from veilleur_fleet.store.work import Delivery

MADE_MS = 1_777_636_800_000
KEY = Ed25519PrivateKey.from_private_bytes(b"r" * 32)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"x" * 32)


def key_of(box: str, controller: str = "ville", key: Ed25519PrivateKey = KEY) -> VerifierKey:
    return verifier_of(origin_of(controller, box), key, BY_LOG)


def a_camera(**changes) -> CameraFacts:
    permitted = Permitted(
        *("signed", ("S", "T"), 1200, 900, 5),
        keep_images=False,
        retention_days=0,
        events=(),
        aggregates=(),
        masks=1,
        masks_decided=True,
    )
    camera = CameraFacts(
        *("gare-parvis", "30189", "rtsp", ("person", "car"), ("lines",), 1200),
        permitted,
        Said("signed", "none", runs=True),
    )
    return msgspec.structs.replace(camera, **changes)


def a_model() -> ModelFacts:
    return ModelFacts(
        *("nanodet-g-640x384", "road-users", ("person", "car")),
        biometric_capable=False,
        sha256="c" * 64,
        declared_sha256="c" * 64,
        in_use=True,
    )


def permitting(**changes) -> CameraFacts:
    """Return the camera with other permissions, which the eye keeps to."""
    camera = a_camera()
    permitted = msgspec.structs.replace(camera.permitted, **changes)
    return msgspec.structs.replace(camera, permitted=permitted, said=Said(permitted.profile, "none", runs=True))


def confinement(process: Process, uid: int, **changes) -> ConfinementFacts:
    trials = tuple(TrialFacts(number, 0, 13) for number in range(1, 44))
    return msgspec.structs.replace(ConfinementFacts(process, uid, 7, 312, (), trials, ()), **changes)


def a_report(box: str = "gare-01", controller: str = "ville", **changes) -> Report:
    """Return a report in which every check holds."""
    report = Report(
        format=1,
        made_ms=MADE_MS,
        why=Why.BOOT,
        identity=Identity(
            box, controller, "0.1.0", "signed", "a" * 64, MADE_MS - 60_000, str(key_of(box, controller)), clock_set=True
        ),
        law=Law(
            version=4,
            sha256="b" * 64,
            issued=datetime(2026, 4, 1, tzinfo=UTC),
            expires=datetime(2027, 3, 1, tzinfo=UTC),
            signers=("controller", "dpo-ville", "operator"),
            purpose="Connaître les déplacements pour aménager l'espace public.",
            legal_references=("RGPD art. 6(1)(e)", "CNIL, juillet 2022 : caméras dites augmentées"),
            decision="Délibération 2026-042 du 3 mars 2026.",
            opinions=(Opinion("dpo-ville", "2026-03-20", "favourable", "Finalité statistique ; œil confiné."),),
            stops=(),
            why_strict=None,
            root_version=1,
        ),
        cameras=(a_camera(),),
        models=(a_model(),),
        redaction=RedactionFacts("constant", 100, 60, 20, 10, "tests/agent/eye/test_attack.py"),
        retention=RetentionFacts(has_store=False, items=0, size_bytes=0, oldest_ms=None, frozen=0),
        egress=EgressFacts(
            MADE_MS - 60_000,
            (Destination("broker.nimes.lan", 8883, ("10.0.0.2",)),),
            (554,),
            12,
            3456,
            0,
            40,
            2100,
            591_494,
            0,
            0,
            0,
        ),
        confinement=(confinement(Process.EYE, 10001), confinement(Process.MOUTH, 10002)),
        access=AccessFacts(
            box_uid=0, allow_unconfined=False, open_files=(), exports=0, view_served=False, swaps_in_clear=0
        ),
        audit=AuditFacts(
            7, "veilleur/ville/gare-01/audit\n7\nEPB82CTbrB+gdx5zrDP4bfjqaRlqAv/zKP6F1Yz+CJk=\n", is_short=False
        ),
    )
    report = msgspec.structs.replace(report, **changes)
    return msgspec.structs.replace(report, checks=results_of(judged(report)))


def within(report: Report, part: str, **changes) -> Report:
    """Return ``report`` with facts of one of its parts changed, and judged again."""
    changed = msgspec.structs.replace(report, **{part: msgspec.structs.replace(getattr(report, part), **changes)})
    return msgspec.structs.replace(changed, checks=results_of(judged(changed)))


def sha256_of(envelope: bytes) -> str:
    return document_sha256(read_envelope(envelope).content())


@dataclass
class Reporting:
    """A box that reports and sends its audit, without any agent: what a forger could do can be tried with it."""

    box: str = "gare-01"
    controller: str = "ville"
    key: Ed25519PrivateKey = KEY
    now_ms: int = MADE_MS
    entries: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.note(BoxStarted("0.1.0", "signed"))

    @property
    def verifier(self) -> VerifierKey:
        return key_of(self.box, self.controller, self.key)

    def note(self, *whats) -> None:
        self.entries = chained(whats, self.entries)

    def report(self, **changes) -> Delivery:
        """Make a report, note it in the audit, and return it as it goes out."""
        report = a_report(self.box, self.controller, made_ms=self.now_ms, **changes)
        return self.send_report(report)

    def send_report(self, report: Report) -> Delivery:
        identity = msgspec.structs.replace(report.identity, key=str(self.verifier))
        envelope = sign_report(msgspec.structs.replace(report, identity=identity), self.key)
        self.note(ReportMade(sha256_of(envelope)))
        return self.delivery(Up.PRIVACY, envelope)

    def part(self, first: int = 0, upto: int | None = None, entries=None, **changes) -> Delivery:
        """Return a part of the audit, signed by the box's own key whatever stands in it."""
        return self.delivery(Up.AUDIT, encode_part(self.audit_part(first, upto, entries, **changes)))

    def audit_part(self, first: int = 0, upto: int | None = None, entries=None, **changes) -> AuditPart:
        entries = self.entries if entries is None else entries
        upto = len(entries) if upto is None else upto
        root = root_of(upto, subtrees_of([leaf_hash(raw) for raw in entries[:upto]]))
        note = sign_checkpoint(Checkpoint(self.verifier.name, upto, root), self.key)
        part = AuditPart(str(self.verifier), first, tuple(entries[first:upto]), note)
        return msgspec.structs.replace(part, **changes)

    def delivery(self, channel: Up, payload: bytes) -> Delivery:
        return Delivery(up_topic(self.controller, self.box, channel), payload, self.now_ms)
