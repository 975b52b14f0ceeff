"""Which root a box was enrolled with, and so which policies it can be given.

--root FILE ──first start──▶ documents/root.json ─▶ eye        --policy FILE ──▶ documents/offers/ ─▶ eye
"""

from datetime import datetime
from pathlib import Path

from veilleur_agent.atomic import replace_file
from veilleur_agent.errors import StartRefusedError
from veilleur_agent.offers import put_offer, read_document
from veilleur_agent.settings import AgentSettings
from veilleur_agent.starts import Profile
from veilleur_contracts.authority import read_root
from veilleur_contracts.envelope import DocumentType, read_envelope
from veilleur_contracts.policy_document import Policy, PolicyRejectedError, decode_document
from veilleur_contracts.policy_effect import permissions_for
from veilleur_contracts.site import Site


def profile_of(settings: AgentSettings) -> Profile:
    """Return which profile holds; a box that was enrolled once stays under signed policies, unless told otherwise."""
    if settings.policy == "bench":
        return "bench"
    is_enrolled = settings.root is not None or pinned_root(settings.state).exists()
    if settings.policy == "strictest" or (settings.policy is None and not is_enrolled):
        return "strictest"
    return "signed"


def check_images(policy: Path, site: Site, now: datetime) -> None:
    """Refuse stills that ``policy`` does not allow; its signatures are not looked at here, the eye does that.

    Raises:
        RejectedError: It allows none of a camera that is to keep some, or cannot be read.
    """
    envelope = read_envelope(read_document(policy, "the policy"), DocumentType.POLICY)
    document = decode_document(envelope.content(), Policy)
    for camera in site.camera:
        if camera.keep is not None and not permissions_for(document, camera.id, camera.insee, now).keep_images:
            raise StartRefusedError(
                f"camera {camera.id}: stills are to be kept (camera.keep), and {policy} allows no image of it now: "
                "take that out, or have a policy signed whose rules allow images"
            )


def pinned_root(state: Path) -> Path:
    """Return where the root lies that the box was enrolled with."""
    return state.resolve() / "documents" / "root.json"


def offers_of(state: Path) -> Path:
    """Return the folder of the documents that wait for the eye."""
    return state.resolve() / "documents" / "offers"


def fetched_of(state: Path) -> Path:
    """Return the folder of the documents that the mouth fetched, which the eye may read."""
    return state.resolve() / "fetched"


def pin_root(settings: AgentSettings, state: Path) -> None:
    """Pin the root at the first start, and put the policy that was given before the eye, which alone verifies it."""
    pinned = pinned_root(state)
    if settings.root is not None:
        data = read_document(settings.root, "the root")
        if pinned.exists() and pinned.read_bytes() != data:
            raise StartRefusedError(
                f"this box was enrolled with another root than {settings.root}: offer a new root with veilleur-agent "
                "offer, or enrol the box again with an empty --state"
            )
        try:
            read_root(data, None)
        except PolicyRejectedError as error:
            raise StartRefusedError(f"--root {settings.root}: {error}") from None
        if not pinned.exists():
            replace_file(pinned, data, 0o644)
    elif not pinned.exists():
        raise StartRefusedError(
            "a signed policy is checked with a root: give the one this box is enrolled with (--root)"
        )
    if settings.policy is not None:
        put_offer(offers_of(state), read_document(Path(settings.policy), "the policy"))
