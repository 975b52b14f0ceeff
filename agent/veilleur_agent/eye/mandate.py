"""What the eye may do, by documents that it verified itself, and what follows for each camera now.

    offers/*.dsse (box) ──────────▶ Standing ──holding_of(camera, now)──▶ Held ─▶ lookout, masks
    fetched/*.dsse (mouth) ───────▶  │   └──▶ standing: in the eye's own folder, verified again at start
                                     └──▶ what happened ─▶ box ─▶ audit;  what is held ─▶ Reported ─▶ fleet

Whoever carries a document can lose it, and cannot change what it says.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from veilleur_agent.atomic import replace_file
from veilleur_agent.control import EyeWitnessed, RefusedReason
from veilleur_agent.events import Tell
from veilleur_agent.eye.announced import HEARD, Announced
from veilleur_agent.eye.documents import changes_between, kind_of, offered_in, reason_of
from veilleur_agent.eye.errors import EyeRefusedError
from veilleur_agent.eye.settings import EyeSettings
from veilleur_contracts.audit import DocumentRefused
from veilleur_contracts.authority import NotYetError
from veilleur_contracts.clock import Clock, datetime_of
from veilleur_contracts.messages import DocumentReady, MessageClass, Refusal
from veilleur_contracts.policy import HASH_DIGITS, Permissions, digest_of, strictest_after
from veilleur_contracts.policy_document import Controller, PolicyRejectedError
from veilleur_contracts.site import Camera
from veilleur_contracts.standing import (
    STANDING_BYTES_MAX,
    Standing,
    enrol,
    hear,
    holding_of,
    keep,
    look,
    offer,
    recall,
)

KEPT_EVERY_S: Final = 60.0
AUDIT_UNWRITABLE: Final = "audit-unwritable"
MASKS_UNDECIDED: Final = "masks-undecided"


@dataclass(frozen=True, slots=True)
class Held:
    """What one camera may do now.

    Attributes:
        permissions: What it may say, and its masks.
        policy: First 64 bits of the SHA-256 of what gave them: the policy in force, or the permissions themselves.
        why: Why it is no more, None when a signed policy or the profile asked for holds.
    """

    permissions: Permissions
    policy: str
    why: str | None

    @property
    def may_speak(self) -> bool:
        """Whether it may say anything but its health."""
        return bool(self.permissions.classes - {MessageClass.TECHNICAL})


@dataclass(frozen=True, slots=True)
class Turn:
    """What one look at the documents came to.

    Attributes:
        happened: For the audit, in order.
        dealt: SHA-256 of the documents that need not be offered again.
    """

    happened: tuple[EyeWitnessed, ...] = ()
    dealt: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Papers:
    """What is held, for the fleet to be told.

    Attributes:
        root: Version of the root; 0: enrolled with none.
        policy_version: Of the policy last taken; 0: none.
        policy: First 64 bits of its SHA-256, None: none.
        stops: How many are in force, those only told of too.
        heard_s: When the fleet's last word was said, UTC seconds; 0: never.
        refused: First 64 bits of the SHA-256 of the document refused last.
        refusal: Why that was.
    """

    root: int = 0
    policy_version: int = 0
    policy: str | None = None
    stops: int = 0
    heard_s: int = 0
    refused: str | None = None
    refusal: Refusal = Refusal.NONE


class Mandate(Protocol):
    """Says what a camera may do."""

    def announce(self, document: DocumentReady) -> bool:
        """Take note of what the mouth has put into its store; tell whether a turn should follow soon."""
        ...

    def papers(self) -> Papers:
        """Return what is held now."""
        ...

    def turn(self) -> Turn:
        """Look at what was offered, and at the clock."""
        ...

    def held(self, camera: Camera) -> Held:
        """Return what ``camera`` may do now."""
        ...


class FixedMandate:
    """The same for every camera and for ever: the bench and the strictest profile.

    Args:
        permissions: What holds.
    """

    def __init__(self, permissions: Permissions) -> None:
        self._held = Held(permissions, digest_of(permissions), None)

    def announce(self, document: DocumentReady) -> bool:  # noqa: ARG002 - as every mandate is told
        """Return False: no document changes this."""
        return False

    def papers(self) -> Papers:
        """Return nothing: no document is held."""
        return Papers()

    def turn(self) -> Turn:
        """Return nothing: no document changes this."""
        return Turn()

    def held(self, camera: Camera) -> Held:  # noqa: ARG002 - as every mandate is asked
        """Return the same for every camera."""
        return self._held


class SignedMandate:
    """What signed documents say. Holds one ``Standing``, which is bounded.

    Args:
        root: The pinned root's bytes.
        controller: Whose box this is.
        kept: File of the standing, in the eye's own folder.
        offers: Folder that box puts documents into.
        fetched: The mouth's store of documents.
        clock: For their dates.
        tell: Says a registered event.

    Raises:
        PolicyRejectedError: The pinned root itself cannot be used.
    """

    def __init__(
        self, root: bytes, controller: Controller, kept: Path, offers: Path, *, fetched: Path, clock: Clock, tell: Tell
    ) -> None:
        self._kept = kept
        self._offers = offers
        self._clock = clock
        self._tell = tell
        self._happened: list[EyeWitnessed] = []
        self._waiting: set[str] = set()
        self._announced = Announced(fetched, clock)
        self._refused: tuple[str, Refusal] | None = None
        self._kept_at_s = clock.elapsed_s()
        self._standing = self._recalled(root, controller)
        self._kept_standing = self._standing

    def announce(self, document: DocumentReady) -> bool:
        """Take note of what the mouth has put into its store; tell whether a turn should follow soon."""
        if document.name == HEARD:
            self._standing = hear(self._standing, datetime_of(self._clock.now_ms()))
            return False
        return self._announced.announce(document.sha256)

    def papers(self) -> Papers:
        """Return what is held now."""
        standing, verified = self._standing, self._standing.verified
        refused, refusal = self._refused or (None, Refusal.NONE)
        return Papers(
            root=standing.root.version,
            policy_version=0 if verified is None else verified.policy.version,
            policy=None if verified is None else verified.sha256[:HASH_DIGITS],
            stops=len(standing.stops) + len(standing.told_stops),
            heard_s=0 if standing.heard is None else int(standing.heard.timestamp()),
            refused=refused,
            refusal=refusal,
        )

    def turn(self) -> Turn:
        """Look at what was offered and announced, and at the clock; what was taken is on disk when this returns."""
        offered = dict(offered_in(self._offers))
        dealt = self._take({**dict(self._announced.due()), **offered})
        now_s = self._clock.elapsed_s()
        self._standing = look(self._standing, datetime_of(self._clock.now_ms()))
        is_due = now_s - self._kept_at_s >= KEPT_EVERY_S
        if self._standing is not self._kept_standing and (dealt or is_due) and not self._keep():
            dealt = []  # offered again until it is safe against a restart
        happened, self._happened = tuple(self._happened), []
        return Turn(happened, tuple(sha256 for sha256 in dealt if sha256 in offered))

    def held(self, camera: Camera) -> Held:
        """Return what ``camera`` may do now."""
        holding = holding_of(self._standing, camera.id, camera.insee, datetime_of(self._clock.now_ms()))
        verified = self._standing.verified
        if holding.why is None and verified is not None:
            return Held(holding.permissions, verified.sha256[:HASH_DIGITS], None)
        return Held(holding.permissions, digest_of(holding.permissions), holding.why)

    def _recalled(self, root: bytes, controller: Controller) -> Standing:
        """Take up what an eye before this one took; when that is damaged, be strict until a policy comes."""
        fresh = enrol(root, controller)
        try:
            with self._kept.open("rb") as file:
                data = file.read(STANDING_BYTES_MAX + 1)
        except FileNotFoundError:
            return fresh
        except OSError:
            data = b""
        try:
            standing = recall(data, root)
        except PolicyRejectedError as error:
            self._refuse("standing", hashlib.sha256(data).hexdigest(), error)
            return fresh
        return standing if standing.controller is controller else fresh

    def _take(self, offered: Mapping[str, bytes]) -> list[str]:
        """Offer documents until none is taken any more: a root may stand behind the policy that needs it."""
        left, dealt = dict(offered), []
        refusals: dict[str, PolicyRejectedError] = {}
        is_moving = True
        while is_moving:
            is_moving = False
            for sha256, data in list(left.items()):
                refusal = self._offer(data)
                if refusal is None:
                    del left[sha256]
                    dealt.append(sha256)
                    is_moving = True
                else:
                    refusals[sha256] = refusal
        self._announced.settle(dealt, [one for one in left if not isinstance(refusals[one], NotYetError)])
        for sha256, data in left.items():
            if sha256 not in self._waiting and (sha256 not in self._announced or self._announced.may_tell(sha256)):
                self._refuse(kind_of(data), sha256, refusals[sha256])
            if isinstance(refusals[sha256], NotYetError):
                self._waiting.add(sha256)  # the clock may be wrong still: it stays, and is told once
            else:
                dealt.append(sha256)
        self._waiting &= left.keys()
        return dealt

    def _offer(self, data: bytes) -> PolicyRejectedError | None:
        before = self._standing
        if data in {before.base, *before.tightenings, *before.roots}:
            return None
        try:
            self._standing = offer(before, data, datetime_of(self._clock.now_ms()))
        except PolicyRejectedError as error:
            return error
        self._happened.extend(changes_between(before, self._standing))
        return None

    def _refuse(self, document: str, sha256: str, error: PolicyRejectedError) -> None:
        reason = reason_of(error)
        self._tell("document.refused", document=document, reason=reason)
        self._refused = (sha256[:HASH_DIGITS], Refusal[reason.upper().replace("-", "_")])
        self._happened.append(DocumentRefused(document, sha256, reason))

    def _keep(self) -> bool:
        self._kept_at_s = self._clock.elapsed_s()
        try:
            replace_file(self._kept, keep(self._standing))
        except OSError:
            self._tell("checkpoint.refused", what="standing")
            return False
        self._kept_standing = self._standing
        return True


def mandate_of(settings: EyeSettings, clock: Clock, tell: Tell) -> Mandate:
    """Return what says what the cameras may do: a profile, or signed documents.

    Raises:
        EyeRefusedError: The pinned root cannot be used.
    """
    if settings.root is None:
        return FixedMandate(settings.permissions)
    controller = Controller(settings.site.site.controller)
    kept = settings.checkpoint.with_name("standing")
    try:
        return SignedMandate(
            settings.root, controller, kept, settings.offers, fetched=settings.fetched, clock=clock, tell=tell
        )
    except PolicyRejectedError:
        raise EyeRefusedError(RefusedReason.ROOT) from None


def under(settings: EyeSettings, held: Held) -> EyeSettings:
    """Return ``settings`` as they are for a camera that may do what is ``held``."""
    hashes = replace(settings.hashes, policy=held.policy)
    return replace(settings, permissions=held.permissions, hashes=hashes)


def held_tight(held: Held) -> Held:
    """Return what holds while the audit cannot be written: the strictest profile, and never more than ``held``."""
    permissions = strictest_after(held.permissions)
    return Held(permissions, digest_of(permissions), held.why or AUDIT_UNWRITABLE)


def may_still_be_told(before: Permissions, now: Permissions) -> bool:
    """Tell whether what was counted under ``before`` may leave under ``now``: nothing that release asks is tighter."""
    lengths = ("person_window_s", "vehicle_window_s", "person_cell_min", "speed_cell_min")
    return before.classes <= now.classes and all(getattr(now, name) <= getattr(before, name) for name in lengths)
