"""The privacy report of a box: one closed document of what it may do, what it does, and what it measured of itself.

    box ──measure──▶ Report ──canonical JSON──▶ DSSE, signed with the box's audit key ──▶ mouth ──▶ fleet ──▶ DPO

At most ``REPORT_BYTES_MAX`` bytes, whatever a site or a policy says: longer texts are cut, and the policy's SHA-256
tells where the whole is. It names no person who was filmed, and holds no image, count, position, password or address of
a camera.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta

from veilleur_contracts.audit import Process
from veilleur_contracts.envelope import (
    DocumentType,
    ForgedError,
    key_id_of,
    read_envelope,
    seal,
    sign,
    signers_of,
    write_envelope,
)
from veilleur_contracts.ids import BoxId, CameraId, ControllerId, Insee, Sha256, Slug, VersionText
from veilleur_contracts.notes import NOTE_BYTES_MAX, VerifierKey
from veilleur_contracts.policy_document import (
    PLAIN_TEXT,
    Closed,
    Instant,
    MalformedDocumentError,
    canonical,
    decode_document,
)

REPORT_BYTES_MAX: Final = 65_536
ENVELOPE_BYTES_MAX: Final = 2 * REPORT_BYTES_MAX
CHECKS_MAX: Final = 64
CAMERAS_MAX: Final = 64
TEXT_MAX: Final = 400
"""Characters of a purpose, decision or opinion that are repeated."""
REFERENCES_MAX: Final = 12
TIGHT_MAX: Final = 80
"""The same where the whole would be too long otherwise."""
ROOM_BYTES: Final = 4096
"""For what is added after the facts: key, checkpoint and the outcome of the checks."""

Natural = Annotated[int, Meta(ge=0, le=1 << 53)]
Small = Annotated[int, Meta(ge=0, le=65_535)]
Text = Annotated[str, Meta(max_length=TEXT_MAX, pattern=PLAIN_TEXT)]
Short = Annotated[str, Meta(max_length=120, pattern=PLAIN_TEXT)]
Host = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[\x21-\x7e]+$")]
Slugs = Annotated[tuple[Slug, ...], Meta(max_length=16)]
CheckNumber = Annotated[str, Meta(pattern=r"^[PF][0-9]{2}$", max_length=3)]


class Why(StrEnum):
    """What made the box report."""

    BOOT = "boot"
    CHANGE = "change"
    DAILY = "daily"


class Outcome(StrEnum):
    """What a check came to."""

    PASS = "pass"  # noqa: S105 - no password: a check is passed
    FAIL = "fail"
    UNTESTED = "untested"


class Identity(Closed, frozen=True):
    """Which box speaks.

    Attributes:
        box: Its name.
        controller: Who answers for its cameras in law.
        agent: Version of the software.
        profile: How it was started: bench, strictest or signed.
        site_sha256: The site it works by.
        started_ms: When box started, UTC.
        key: The key of its audit log, with which this report is signed.
        clock_set: Whether a time source holds its clock.
    """

    box: BoxId
    controller: ControllerId
    agent: VersionText
    profile: Slug
    site_sha256: Sha256
    started_ms: Natural
    key: Annotated[str, Meta(max_length=512, pattern=PLAIN_TEXT)]
    clock_set: bool


class Opinion(Closed, frozen=True):
    """A DPO's opinion, as the policy holds it."""

    role: Slug
    day: Annotated[str, Meta(max_length=10)]
    opinion: Slug
    text: Text


class StopInForce(Closed, frozen=True):
    """A DPO's stop."""

    role: Slug
    issued: Instant
    sha256: Sha256


class Law(Closed, frozen=True):
    """The signed policy that the box holds, verified again by box from the root it was enrolled with.

    Attributes:
        version: Of the policy.
        sha256: Of its canonical bytes.
        issued: From when it holds.
        expires: From when it no longer does.
        signers: Roles that signed it.
        purpose: Why the street is counted.
        legal_references: Texts it rests on.
        decision: The controller's decision.
        opinions: Of the DPOs.
        stops: In force.
        why_strict: Why no camera is allowed what it says; None: they are.
        root_version: Of the root it was verified with.
    """

    version: Natural
    sha256: Sha256
    issued: Instant
    expires: Instant
    signers: Slugs
    purpose: Text
    legal_references: Annotated[tuple[Annotated[str, Meta(max_length=200)], ...], Meta(max_length=REFERENCES_MAX)]
    decision: Text
    opinions: Annotated[tuple[Opinion, ...], Meta(max_length=8)]
    stops: Annotated[tuple[StopInForce, ...], Meta(max_length=32)]
    why_strict: Slug | None
    root_version: Natural


class Permitted(Closed, frozen=True):
    """What one camera may do now, by the documents.

    Attributes:
        profile: Name of the profile.
        classes: Classes of message, sorted.
        person_window_s: Shortest window with persons.
        vehicle_window_s: Shortest window of vehicles.
        person_cell_min: Persons from which a count is told.
        keep_images: Whether redacted images may be kept.
        retention_days: How long, at most.
        events: Kinds of event authorised.
        aggregates: Kinds of aggregate with a visa.
        masks: How many parts of the picture are burnt out.
        masks_decided: Whether somebody decided that.
    """

    profile: Slug
    classes: Annotated[tuple[Annotated[str, Meta(pattern=r"^[TSAE]$")], ...], Meta(max_length=4)]
    person_window_s: Natural
    vehicle_window_s: Natural
    person_cell_min: Natural
    keep_images: bool
    retention_days: Small
    events: Slugs
    aggregates: Slugs
    masks: Small
    masks_decided: bool


class Said(Closed, frozen=True):
    """What the eye said of itself: which profile it holds the camera to, why no more, and whether it runs."""

    profile: Slug
    why: Slug
    runs: bool


class CameraFacts(Closed, frozen=True):
    """One camera.

    Attributes:
        id: Its name.
        insee: Its commune.
        source: Kind of source, never its address: rtsp, http, file, device.
        labels: What is counted.
        watches: What it is watched for: lines, zones, limits, objects, road, speeds, one-way.
        window_s: Length of its windows.
        permitted: What it may do, by the documents.
        said: What the eye holds it to; None: the eye has not said yet.
    """

    id: CameraId
    insee: Insee
    source: Slug
    labels: Slugs
    watches: Slugs
    window_s: Natural
    permitted: Permitted
    said: Said | None


class ModelFacts(Closed, frozen=True):
    """A model in the box's store.

    Attributes:
        name: Its name.
        purpose: road-users or faces, as its card says; unknown: it has no card that can be read.
        labels: What it can find.
        biometric_capable: Whether it could identify a person; a card that cannot be read counts as yes.
        sha256: Of its weights as they lie on disk, measured.
        declared_sha256: The same as its card says.
        in_use: Whether it is the one that counts.
    """

    name: Slug
    purpose: Slug
    labels: Slugs
    biometric_capable: bool
    sha256: Sha256 | None
    declared_sha256: Sha256 | None
    in_use: bool


class RedactionFacts(Closed, frozen=True):
    """How images are redacted, wherever one is kept or shown.

    Attributes:
        fill: What covers: constant, and nothing else ships.
        people_percent: Share of a person's box that is covered.
        vehicle_percent: Lower share of a vehicle's box that is covered.
        dilation_percent: Added on each side.
        checked_every: One frame in so many is looked at again when it is filled.
        attack_test: The test that tries to read through it.
    """

    fill: Slug
    people_percent: Small
    vehicle_percent: Small
    dilation_percent: Small
    checked_every: Small
    attack_test: Short


class RetentionFacts(Closed, frozen=True):
    """What was found in the store of clips, by looking.

    Attributes:
        has_store: Whether there is one at all.
        items: Days of cameras in it.
        size_bytes: Of all of them.
        oldest_ms: When the oldest that is not frozen was taken; None: there is none.
        frozen: Those kept for justice.
    """

    has_store: bool
    items: Natural
    size_bytes: Natural
    oldest_ms: Natural | None
    frozen: Natural


class Destination(Closed, frozen=True, omit_defaults=True):
    """Where the mouth may speak: what was configured, and where that led.

    Attributes:
        host: As it was configured.
        port: TCP port.
        addresses: Where that leads now.
        what: The broker, the fleet's door, or the radio gateway beside the box.
    """

    host: Host
    port: Small
    addresses: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=8)]
    what: Literal["broker", "door", "gateway"] = "broker"


class EgressFacts(Closed, frozen=True):
    """What left, counted since box started.

    Attributes:
        since_ms: From when on.
        destinations: All there are.
        camera_ports: TCP ports that the eye may connect to.
        sent_messages: What the mouth published.
        sent_bytes: Of those messages.
        refused_messages: Publications that the broker refused.
        link_records: Records that came over the link from eye to mouth.
        link_bytes: Of those.
        link_bytes_per_day_max: The most that the link lets through in a day.
        link_cuts: How often a peer was cut off.
        rejects: What came down to the mouth and was refused.
        output_dropped_bytes: What a child wrote on its output that is no registered event.
    """

    since_ms: Natural
    destinations: Annotated[tuple[Destination, ...], Meta(max_length=8)]
    camera_ports: Annotated[tuple[Small, ...], Meta(max_length=64)]
    sent_messages: Natural
    sent_bytes: Natural
    refused_messages: Natural
    link_records: Natural
    link_bytes: Natural
    link_bytes_per_day_max: Natural
    link_cuts: Natural
    rejects: Natural
    output_dropped_bytes: Natural


class TrialFacts(Closed, frozen=True, array_like=True):
    """What came of one attempt: 0 refused, 1 allowed, 2 absent; and the errno it met."""

    number: Annotated[int, Meta(ge=1, le=127)]
    outcome: Annotated[int, Meta(ge=0, le=2)]
    code: Annotated[int, Meta(ge=0, le=4095)]


class ConfinementFacts(Closed, frozen=True):
    """What one process measured of its own confinement by trying.

    Attributes:
        process: Which.
        uid: The user it runs as.
        landlock_version: 0: the kernel has none.
        filter_instructions: Of its seccomp filter; 0: it has none.
        missing: What the kernel lacks.
        trials: Every attempt.
        breaches: Numbers of the trials that were not as they must be.
    """

    process: Process
    uid: Natural
    landlock_version: Small
    filter_instructions: Small
    missing: Slugs
    trials: Annotated[tuple[TrialFacts, ...], Meta(max_length=64)]
    breaches: Annotated[tuple[Annotated[int, Meta(ge=1, le=127)], ...], Meta(max_length=64)]


class AccessFacts(Closed, frozen=True):
    """Who can get at what on the box.

    Attributes:
        box_uid: User of box.
        allow_unconfined: Whether it was told to run without confinement.
        open_files: Private files or folders that others may read: their kind, not their path.
        exports: Times that somebody took clips out, of the audit that is kept.
        view_served: Whether the redacted background is served on the local network.
        swaps_in_clear: Swaps in use into which memory could be written in the clear.
    """

    box_uid: Natural
    allow_unconfined: bool
    open_files: Slugs
    exports: Natural
    view_served: bool
    swaps_in_clear: Natural


class AuditFacts(Closed, frozen=True):
    """The audit as it stood when the report was made.

    Attributes:
        size: Entries.
        checkpoint: The signed head of that many.
        is_short: Whether entries were lost, or the disk is so full that they may be.
    """

    size: Natural
    checkpoint: Annotated[str, Meta(max_length=NOTE_BYTES_MAX // 16)]
    is_short: bool


class CheckResult(Closed, frozen=True, array_like=True):
    """What the box found a check to come to."""

    number: CheckNumber
    outcome: Outcome


class Report(Closed, frozen=True):
    """Everything a DPO may ask a box.

    Attributes:
        format: Of this document.
        made_ms: When, UTC by the box's clock.
        why: What made it.
        identity: Which box.
        law: The signed policy; None: none was ever taken.
        cameras: Each camera, and what it is for.
        models: Every model in its store.
        redaction: How images are redacted.
        retention: What is kept.
        egress: What left.
        confinement: What each process can do.
        access: Who can get at what.
        audit: How far the audit went.
        checks: What it came to, by number; what they mean stands in ``report_checks``.
    """

    format: Literal[1]
    made_ms: Natural
    why: Why
    identity: Identity
    law: Law | None
    cameras: Annotated[tuple[CameraFacts, ...], Meta(max_length=CAMERAS_MAX)]
    models: Annotated[tuple[ModelFacts, ...], Meta(max_length=16)]
    redaction: RedactionFacts
    retention: RetentionFacts
    egress: EgressFacts
    confinement: Annotated[tuple[ConfinementFacts, ...], Meta(max_length=4)]
    access: AccessFacts
    audit: AuditFacts
    checks: Annotated[tuple[CheckResult, ...], Meta(max_length=CHECKS_MAX)] = ()


def shortened(text: str, most: int = TEXT_MAX) -> str:
    """Return ``text``, cut to ``most`` characters with a sign that it was."""
    return text if len(text) <= most else text[: most - 1] + "…"


def fitted(report: Report) -> Report:
    """Return ``report``, with the words of its policy cut further where the whole would pass its bound."""
    law = report.law
    if law is None or len(canonical(report)) <= REPORT_BYTES_MAX - ROOM_BYTES:
        return report
    short = msgspec.structs.replace(
        law,
        purpose=shortened(law.purpose, TIGHT_MAX),
        decision=shortened(law.decision, TIGHT_MAX),
        legal_references=tuple(shortened(one, TIGHT_MAX) for one in law.legal_references),
        opinions=tuple(msgspec.structs.replace(one, text=shortened(one.text, TIGHT_MAX)) for one in law.opinions),
    )
    return msgspec.structs.replace(report, law=short)


def sign_report(report: Report, key: Ed25519PrivateKey) -> bytes:
    """Return ``report`` in its envelope, signed.

    Raises:
        PolicyRejectedError: A field is out of its bounds, or the whole too long.
    """
    content = canonical(report)
    decode_document(content, Report, REPORT_BYTES_MAX)
    return write_envelope(sign(seal(content, DocumentType.REPORT), key))


def read_report(data: bytes, key: VerifierKey) -> Report:
    """Read a report and verify that ``key`` signed it.

    Raises:
        PolicyRejectedError: Too long, not a report, not canonical, of another key, or changed since it was signed.
    """
    report = open_report(data)
    key_id = key_id_of(key.public)
    if not signers_of(read_envelope(data, DocumentType.REPORT), {key_id: key.public}):
        message = f"the report is not signed with the key of {key.name}"
        raise ForgedError(message)
    return report


def open_report(data: bytes) -> Report:
    """Read a report without looking at its signature: to learn which key it claims.

    Raises:
        PolicyRejectedError: Too long, not a report, or not canonical.
    """
    if len(data) > ENVELOPE_BYTES_MAX:
        message = f"the report is {len(data)} bytes long; at most {ENVELOPE_BYTES_MAX} are read"
        raise MalformedDocumentError(message)
    return decode_document(read_envelope(data, DocumentType.REPORT).content(), Report, REPORT_BYTES_MAX)
