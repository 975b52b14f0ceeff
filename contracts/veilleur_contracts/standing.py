"""What is in force on one box: every document it has taken, verified, and what follows for a camera now.

    pinned root ─▶ Standing ──offer(envelope)──▶ Standing ──offer──▶ Standing      (a refusal changes nothing)
                      │ holding_of(camera, now)
                      ▼
                 Holding(permissions, why strict)

The eye keeps its standing in its own checkpoint and verifies it again when it starts; the mouth cannot write there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from veilleur_contracts.authority import (
    CLOCK_SLACK,
    Root,
    Verified,
    examine,
    read_root,
    verify,
    verify_contact,
    verify_stop,
)
from veilleur_contracts.envelope import DocumentType, read_envelope
from veilleur_contracts.ids import Sha256
from veilleur_contracts.policy import STOPPED, STRICTEST, Permissions, strictest_after, tightest_of
from veilleur_contracts.policy_document import (
    Closed,
    Controller,
    MalformedDocumentError,
    Policy,
    PolicyRejectedError,
    Role,
    Stop,
)
from veilleur_contracts.policy_effect import Effect, permissions_for

STOPS_MAX: Final = 32
"""With this many stops in force every camera is stopped, whatever their scopes; so no stop is ever turned away."""
ROOTS_MAX: Final = 32
TIGHTENINGS_MAX: Final = 16
"""Never reached: a policy holds at most 8 opinions, and each link but the last brings one."""
BEHIND_GRACE: Final = timedelta(minutes=15)
"""Time to fetch a newer policy that the fleet has told of, before keeping the old one counts as being held back."""
STANDING_BYTES_MAX: Final = 16_777_216


_T = TypeVar("_T")


class WrongControllerError(PolicyRejectedError):
    """A genuine policy, or word from the fleet, that speaks of other people's cameras."""


class WhyStrict(StrEnum):
    """Why a camera is held to less than a policy would allow."""

    NO_POLICY = "no-policy"
    NOT_COVERED = "not-covered"
    UNFOUNDED = "unfounded"
    EXPIRED = "expired"
    ROOT_EXPIRED = "root-expired"
    NO_CONTACT = "no-contact"
    BEHIND = "behind"
    CLOCK = "clock"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Holding:
    """What one camera may do now, and why it is no more than that (None: the signed policy holds)."""

    permissions: Permissions
    why: WhyStrict | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything a box has taken and verified; bounded by ``STOPS_MAX`` and ``ROOTS_MAX`` envelopes.

    Attributes:
        controller: Whose box this is.
        root: The root in force.
        roots: Envelopes of the roots that followed the pinned one.
        verified: The policy in force, if any.
        is_founded: Whether the root in force still knows the keys that signed it.
        base: Envelope of the last policy that carried every signature.
        tightenings: Envelopes since, which need not: those that brought a DPO's opinion, and the last one.
        brought_opinion: Whether the last one did.
        stops: Stops in force, by SHA-256.
        stop_envelopes: Their envelopes, in the same order.
        told_stops: SHA-256 of stops that the fleet told of and that never came.
        told_version: Newest policy that the fleet told of.
        behind_since: When it told of one that is still missing.
        heard: When the fleet last spoke.
        seen: Latest time seen while the policy held, so that a clock set back revives nothing.
    """

    controller: Controller
    root: Root
    roots: tuple[bytes, ...] = ()
    verified: Verified | None = None
    is_founded: bool = True
    base: bytes | None = None
    tightenings: tuple[bytes, ...] = ()
    brought_opinion: bool = False
    stops: tuple[tuple[str, Stop], ...] = ()
    stop_envelopes: tuple[bytes, ...] = ()
    told_stops: frozenset[str] = frozenset()
    told_version: int = 0
    behind_since: datetime | None = None
    heard: datetime | None = None
    seen: datetime | None = None

    @property
    def policy(self) -> Policy | None:
        """The policy last taken, in force or not."""
        return None if self.verified is None else self.verified.policy


class _Kept(Closed, frozen=True):
    controller: Controller
    roots: Annotated[tuple[bytes, ...], Meta(max_length=ROOTS_MAX)]
    base: bytes | None
    tightenings: Annotated[tuple[bytes, ...], Meta(max_length=TIGHTENINGS_MAX)]
    stops: Annotated[tuple[bytes, ...], Meta(max_length=STOPS_MAX)]
    told_stops: Annotated[frozenset[Sha256], Meta(max_length=64)]
    told_version: int
    behind_since: datetime | None
    heard: datetime | None
    seen: datetime | None


def enrol(pinned_root: bytes, controller: Controller) -> Standing:
    """Return the standing of a new box: nothing but the root it was given.

    Raises:
        PolicyRejectedError: The root cannot be used.
    """
    return Standing(controller, read_root(pinned_root, before=None))


def offer(standing: Standing, envelope: bytes, now: datetime) -> Standing:
    """Take one document, whichever it is.

    Returns:
        The new standing; ``standing`` itself when the document is a stop that is held or lifted already.

    Raises:
        PolicyRejectedError: Its subclass says why; ``standing`` stays as it is.
    """
    kind = read_envelope(envelope).payload_type
    if kind is DocumentType.ROOT:
        return _take_root(standing, envelope)
    if kind is DocumentType.STOP:
        return _take_stop(standing, envelope)
    if kind is DocumentType.CONTACT:
        return _take_contact(standing, envelope, now)
    return _take_policy(standing, envelope, now)


def hear(standing: Standing, at: datetime) -> Standing:
    """Note an unsigned contact; it counts only where the root gives the fleet no key to sign one."""
    return standing if Role.FLEET in standing.root.roles else replace(standing, heard=at)


def look(standing: Standing, now: datetime) -> Standing:
    """Note the time, while the policy holds; call it whenever the standing is kept."""
    policy = standing.policy
    if policy is None or not policy.issued <= now < policy.expires:
        return standing
    return standing if standing.seen is not None and now <= standing.seen else replace(standing, seen=now)


def holding_of(standing: Standing, camera: str, insee: str, now: datetime) -> Holding:
    """Return what ``camera`` may do at ``now`` and why not more.

    Args:
        standing: What the box has taken.
        camera: Id of the camera.
        insee: Its commune.
        now: UTC of this machine, right or wrong.
    """
    if _is_stopped(standing, camera, insee):
        last = _lasting(standing, camera, insee)
        return Holding(STOPPED if last is None else tightest_of(last, STOPPED, STOPPED.profile), WhyStrict.STOPPED)
    policy = standing.policy
    if policy is None:
        return Holding(STRICTEST, WhyStrict.NO_POLICY)
    if standing.controller not in policy.scope.controllers or not policy.scope.covers(camera, insee):
        return Holding(STRICTEST, WhyStrict.NOT_COVERED)
    why = why_strict(standing, now)
    if why is not None:
        return Holding(strictest_after(_lasting(standing, camera, insee)), why)
    return Holding(permissions_for(policy, camera, insee, now), None)


def why_strict(standing: Standing, now: datetime) -> WhyStrict | None:
    """Return why no camera of the box is allowed what its policy says, or None."""
    policy = standing.policy
    if policy is None:
        return WhyStrict.NO_POLICY
    earliest = max(policy.issued, standing.seen or policy.issued) - CLOCK_SLACK
    silent = standing.heard is None or now - standing.heard > timedelta(seconds=policy.max_age_s)
    behind = standing.behind_since is not None and now - standing.behind_since > BEHIND_GRACE
    reasons = (
        (now < earliest, WhyStrict.CLOCK),
        (not standing.is_founded, WhyStrict.UNFOUNDED),
        (now >= policy.expires, WhyStrict.EXPIRED),
        (now >= standing.root.expires, WhyStrict.ROOT_EXPIRED),
        (silent, WhyStrict.NO_CONTACT),
        (behind, WhyStrict.BEHIND),
    )
    return next((why for holds, why in reasons if holds), None)


def keep(standing: Standing) -> bytes:
    """Return ``standing`` as bytes for the eye's checkpoint: envelopes, which prove themselves, and times."""
    return msgspec.json.encode(
        _Kept(
            standing.controller,
            standing.roots,
            standing.base,
            standing.tightenings,
            standing.stop_envelopes,
            standing.told_stops,
            standing.told_version,
            standing.behind_since,
            standing.heard,
            standing.seen,
        )
    )


def recall(data: bytes, pinned_root: bytes) -> Standing:
    """Read what ``keep`` wrote and verify every document again, from the pinned root on.

    Raises:
        PolicyRejectedError: Damaged or tampered with; ``enrol`` again and be strict until a policy comes.
    """
    if len(data) > STANDING_BYTES_MAX:
        message = f"the kept standing is longer than {STANDING_BYTES_MAX} bytes; it is damaged"
        raise MalformedDocumentError(message)
    try:
        kept = msgspec.json.decode(data, type=_Kept)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        message = "the kept standing is damaged; the box is strict until it gets its policy again"
        raise MalformedDocumentError(message) from None
    standing = enrol(pinned_root, kept.controller)
    chain = [standing.root]
    for envelope in kept.roots:
        standing = _take_root(standing, envelope)
        chain.insert(0, standing.root)
    for held in () if kept.base is None else (kept.base, *kept.tightenings):
        standing = _recall_policy(standing, held, chain)
    for envelope in kept.stops:
        stop, sha256 = _by_any(chain, partial(verify_stop, envelope))
        standing = _with_stop(standing, envelope, stop, sha256)
    return replace(
        standing,
        told_stops=kept.told_stops,
        told_version=kept.told_version,
        behind_since=kept.behind_since,
        heard=kept.heard,
        seen=kept.seen,
    )


def _take_root(standing: Standing, envelope: bytes) -> Standing:
    if len(standing.roots) >= ROOTS_MAX:
        message = f"{ROOTS_MAX} roots have followed the pinned one; enrol the box again with the newest"
        raise MalformedDocumentError(message)
    root = read_root(envelope, standing.root)
    founded = standing.base is None or _founds(root, standing.base, standing.tightenings)
    return replace(standing, root=root, roots=(*standing.roots, envelope), is_founded=founded)


def _founds(root: Root, base: bytes, tightenings: tuple[bytes, ...]) -> bool:
    """Tell whether what was signed under an earlier root still is, now that keys have come and gone."""
    try:
        policy = examine(base, root).policy
        for envelope in tightenings:
            policy = examine(envelope, root, policy).policy
    except PolicyRejectedError:
        return False
    return True


def _recall_policy(standing: Standing, envelope: bytes, chain: list[Root]) -> Standing:
    verified = _by_any(chain, partial(examine, envelope, current=standing.policy))
    taken = _with_policy(standing, envelope, verified)
    return replace(taken, is_founded=taken.base is None or _founds(chain[0], taken.base, taken.tightenings))


def _by_any(chain: list[Root], verified_by: Callable[[Root], _T]) -> _T:
    """Verify by the newest root that can; a stop outlives the keys of the DPO who ordered it."""
    for root in chain[:-1]:
        try:
            return verified_by(root)
        except PolicyRejectedError:
            continue
    return verified_by(chain[-1])


def _take_policy(standing: Standing, envelope: bytes, now: datetime) -> Standing:
    verified = verify(envelope, standing.root, now, standing.policy)
    was_ours = standing.policy is not None and standing.controller in standing.policy.scope.controllers
    if standing.controller not in verified.policy.scope.controllers and not was_ours:
        message = (
            f"policy {verified.policy.version} is for {', '.join(sorted(verified.policy.scope.controllers))};"
            f" this box belongs to {standing.controller.value}"
        )
        raise WrongControllerError(message)
    taken = _with_policy(standing, envelope, verified)
    issued = verified.policy.issued
    fully_signed = bool(verified.change.loosened)
    return replace(
        taken,
        behind_since=None if verified.policy.version >= standing.told_version else standing.behind_since,
        heard=max(issued, standing.heard or issued) if fully_signed else standing.heard,
        seen=issued if fully_signed else standing.seen,
    )


def _with_policy(standing: Standing, envelope: bytes, verified: Verified) -> Standing:
    resets = standing.base is None or bool(verified.change.loosened)
    known = () if standing.policy is None else standing.policy.visas
    kept = standing.tightenings if standing.brought_opinion else standing.tightenings[:-1]
    held = [
        (stop, raw)
        for stop, raw in zip(standing.stops, standing.stop_envelopes, strict=True)
        if stop[0] not in verified.policy.lifts
    ]
    return replace(
        standing,
        verified=verified,
        is_founded=resets or standing.is_founded,
        base=envelope if resets else standing.base,
        tightenings=() if resets else (*kept, envelope),
        brought_opinion=not resets and not set(verified.policy.visas) <= set(known),
        stops=tuple(stop for stop, _ in held),
        stop_envelopes=tuple(raw for _, raw in held),
        told_stops=standing.told_stops - verified.policy.lifts,
    )


def _take_stop(standing: Standing, envelope: bytes) -> Standing:
    stop, sha256 = verify_stop(envelope, standing.root)
    return _with_stop(standing, envelope, stop, sha256)


def _with_stop(standing: Standing, envelope: bytes, stop: Stop, sha256: str) -> Standing:
    lifted = standing.policy is not None and sha256 in standing.policy.lifts
    if lifted or sha256 in dict(standing.stops) or len(standing.stops) >= STOPS_MAX:
        return standing
    return replace(
        standing,
        stops=(*standing.stops, (sha256, stop)),
        stop_envelopes=(*standing.stop_envelopes, envelope),
        told_stops=standing.told_stops - {sha256},
    )


def _take_contact(standing: Standing, envelope: bytes, now: datetime) -> Standing:
    contact = verify_contact(envelope, standing.root, now)
    if standing.controller not in contact.controllers:
        message = (
            f"word from the fleet for {', '.join(sorted(contact.controllers))}; this box is of {standing.controller}"
        )
        raise WrongControllerError(message)
    if standing.heard is not None and contact.at <= standing.heard:
        return standing
    lifts = frozenset() if standing.policy is None else standing.policy.lifts
    version = 0 if standing.policy is None else standing.policy.version
    is_behind = contact.policy_version > version
    return replace(
        standing,
        heard=contact.at,
        seen=contact.at,
        told_version=contact.policy_version,
        told_stops=contact.stops - set(dict(standing.stops)) - lifts,
        behind_since=(standing.behind_since or contact.at) if is_behind else None,
    )


def _is_stopped(standing: Standing, camera: str, insee: str) -> bool:
    if standing.told_stops or len(standing.stops) >= STOPS_MAX:
        return True
    return any(
        standing.controller in stop.scope.controllers and stop.scope.covers(camera, insee) for _, stop in standing.stops
    )


def _lasting(standing: Standing, camera: str, insee: str) -> Permissions | None:
    return None if standing.policy is None else Effect(standing.policy).lasting(camera, insee)
