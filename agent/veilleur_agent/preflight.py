"""Everything that can be refused before a process is started, each with one sentence.

settings + site.toml ──▶ checked: sources, secrets, windows, bench, root, model, folders ──▶ Plan
"""

import fcntl
import hashlib
import ipaddress
import os
import stat
from pathlib import Path
from typing import Final

from veilleur_agent.atomic import replace_file
from veilleur_agent.budget import Budget, budget_of
from veilleur_agent.enrolled import broker_for, door_for, identity_of, read_enrolled
from veilleur_agent.enrolment import fetched_of, offers_of, pin_root, profile_of
from veilleur_agent.errors import StartRefusedError
from veilleur_agent.freezes import freezes_of
from veilleur_agent.plan import Plan, clips_of
from veilleur_agent.settings import AgentSettings, broker_of
from veilleur_agent.starts import GatewayStart, Profile
from veilleur_contracts.policy import BENCH, STRICTEST, Permissions, check_bench_source
from veilleur_contracts.policy_effect import LOOSEST_SIGNED
from veilleur_contracts.site import SITE_BYTES_MAX, Camera, Site, SiteRejectedError, parse_site
from veilleur_models.settings import how_to_build

TOKEN_BYTES_MAX: Final = 256
PROFILES: Final[dict[Profile, Permissions]] = {"bench": BENCH, "strictest": STRICTEST, "signed": LOOSEST_SIGNED}
PRIVATE: Final = 0o077
FACES: Final = "centerface"
"""``veilleur_models.catalogue.FACE_DETECTOR``; the box process loads nothing that opens a model."""


def plan_of(site_path: Path, settings: AgentSettings) -> Plan:
    """Check everything and prepare the folders.

    Raises:
        RejectedError: With one sentence, of whatever it is that cannot be used.
    """
    data, site = _read_site(site_path)
    token = _take_token(settings.bench_token)
    profile = profile_of(settings)
    budgets = check_site_runs(site, settings, profile, token, site_path.parent)
    _check_model(settings)
    _check_uids(settings)
    gateway = gateway_of(site, settings)
    enrolled = read_enrolled(settings.state)
    broker = broker_for(settings, site, enrolled)
    door = door_for(settings, enrolled, broker)
    state = _prepare_state(settings)
    if profile == "signed":
        pin_root(settings, state)
    site_file = state / "documents" / "site.toml"
    replace_file(site_file, data, 0o644)
    digest = hashlib.sha256(data).hexdigest()
    return Plan(
        site,
        settings,
        profile,
        PROFILES[profile],
        broker,
        state,
        site_file,
        digest,
        token,
        budgets,
        door=door if profile == "signed" else None,  # nothing that is fetched counts under the others
        gateway=gateway,
        identity=identity_of(enrolled, door) if broker.is_tls else None,
    )


def gateway_of(site: Site, settings: AgentSettings) -> GatewayStart | None:
    """Return which sensors the mouth hears and where, None for a site without any.

    Raises:
        StartRefusedError: There are sensors and no gateway, or the gateway is not given by its address.
    """
    if not site.sensor:
        return None
    if settings.gateway is None:
        raise StartRefusedError(
            f"the site has {len(site.sensor)} sensor(s): say where their gateway's broker is (VEILLEUR_GATEWAY)"
        )
    broker = broker_of(settings.gateway.get_secret_value(), "VEILLEUR_GATEWAY")
    if broker.is_tls:
        raise StartRefusedError("VEILLEUR_GATEWAY is beside the box and reached without TLS: write mqtt://")
    try:
        address = str(ipaddress.ip_address(broker.host))
    except ValueError:
        raise StartRefusedError(
            "VEILLEUR_GATEWAY names a host: write its address, the mouth looks up no names"
        ) from None
    return GatewayStart(address, broker.port, broker.user, broker.password, site.sensor, site.decoder)


def check_site_runs(
    site: Site, settings: AgentSettings, profile: Profile, token: str | None, beside: Path
) -> dict[str, Budget]:
    """Check what a site asks for against this machine and the policy; return each camera's budget on the link.

    Args:
        site: A site that holds together.
        settings: Of this box.
        profile: In force.
        token: The simulator's.
        beside: Folder that relative paths of sources start from.

    Raises:
        RejectedError: A source that is not there, a secret nobody holds, a window too short, a street under bench, or
            one in which nobody has decided what to mask.
    """
    budgets = {}
    permissions = PROFILES[profile]
    for camera in site.camera:
        where = f"camera {camera.id}"
        is_file = _check_source(where, camera, beside)
        if profile == "bench":
            check_bench_source(camera.source, is_regular_file=is_file, token=token)
        if profile == "strictest" and not is_file:
            raise StartRefusedError(
                f"{where}: nobody has decided what to mask in its picture, so it does not run: give a signed policy "
                "that names it (--policy FILE --root FILE)"
            )
        _check_keep(where, camera, settings, permissions)
        if camera.secret is not None and settings.secrets is None:
            raise StartRefusedError(f"{where} names the secret {camera.secret}: give the file of secrets (--secrets)")
        budgets[camera.id] = budget_of(camera, _window_s(where, camera, site, permissions), permissions)
    if settings.secrets is not None:
        check_private(settings.secrets, "the file of secrets")
    return budgets


def check_private(path: Path, what: str) -> None:
    """Refuse a file that others may read.

    Raises:
        StartRefusedError: It is not there, no regular file, or open to group or others.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise StartRefusedError(f"{what} {path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise StartRefusedError(f"{what} {path} is not a file")
    if stat.S_IMODE(found.st_mode) & PRIVATE:
        raise StartRefusedError(f"{what} {path} may be read by others: run chmod 600 on it")


def lock_state(state: Path) -> int:
    """Claim the folder for this box; return the descriptor to keep open.

    Raises:
        StartRefusedError: Another agent has it.
    """
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StartRefusedError(f"another agent uses {state}: stop it, or give this one its own --state") from None
    return descriptor


def _read_site(path: Path) -> tuple[bytes, Site]:
    try:
        with path.open("rb") as file:
            data = file.read(SITE_BYTES_MAX + 1)
    except OSError as error:
        raise SiteRejectedError(f"cannot read site {path}: {error.strerror}") from None
    if len(data) > SITE_BYTES_MAX:
        raise SiteRejectedError(f"site {path} is longer than {SITE_BYTES_MAX} bytes")
    return data, parse_site(data, str(path))


def _check_source(where: str, camera: Camera, beside: Path) -> bool:
    """Tell whether the source is a regular file; refuse a path where nothing is."""
    if "://" in camera.source:
        return False
    path = Path(camera.source)
    if not path.is_absolute():
        raise StartRefusedError(f"{where}: its source is a relative path; write it from the root, {beside}/…")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise StartRefusedError(f"{where}: its source {path} cannot be read: {error.strerror}") from None
    return stat.S_ISREG(mode)


def _check_keep(where: str, camera: Camera, settings: AgentSettings, permissions: Permissions) -> None:
    """Refuse stills that no policy of this profile can allow, or in which nobody could look for faces."""
    if camera.keep is None:
        return
    if not permissions.keep_images:
        raise StartRefusedError(
            f"{where}: stills are to be kept (camera.keep), and the {permissions.profile} policy keeps no "
            "image: take that out, or give a signed policy whose rules allow images (--policy, --root)"
        )
    if not (settings.model_folder / FACES / "card.toml").is_file():
        raise StartRefusedError(
            f"{where}: no still is kept before faces were looked for in it, and {_not_built(settings, FACES)}"
        )


def _window_s(where: str, camera: Camera, site: Site, permissions: Permissions) -> int:
    shortest = permissions.window_s_for(camera.label_set())
    window_s = site.site.window_s or shortest
    if window_s < shortest:
        raise StartRefusedError(
            f"{where}: windows of {window_s} s are shorter than the {shortest} s that the {permissions.profile} policy "
            f"asks for: lengthen site.window_s, or leave it out"
        )
    return window_s


def _take_token(path: Path | None) -> str | None:
    """Read the one-time token and remove it, so that it opens nothing a second time."""
    if path is None:
        return None
    check_private(path, "the bench token")
    with path.open("rb") as file:
        data = file.read(TOKEN_BYTES_MAX + 1)
    path.unlink()
    token = data.decode("ascii", "replace").strip()
    if not token or len(data) > TOKEN_BYTES_MAX or not token.isalnum():
        raise StartRefusedError(f"the bench token {path} is not one of the simulator's")
    return token


def _check_model(settings: AgentSettings) -> None:
    card = settings.model_folder / settings.model / "card.toml"
    if not card.is_file():
        raise StartRefusedError(_not_built(settings, settings.model))


def _not_built(settings: AgentSettings, model: str) -> str:
    """Say where ``model`` was looked for, and both remedies."""
    return (
        f"the model {model} is not in {settings.model_folder}: run '{how_to_build(model)}', or say where the models "
        "are (--models, VEILLEUR_MODEL_CACHE)"
    )


def _check_uids(settings: AgentSettings) -> None:
    if (settings.eye_uid or settings.mouth_uid) and os.geteuid() != 0:
        raise StartRefusedError("only root can give eye and mouth users of their own: leave out VEILLEUR_EYE_UID")


def _prepare_state(settings: AgentSettings) -> Path:
    """Make the folders: one that each child alone may enter, and what the mouth alone writes and both read."""
    state = settings.state.resolve()
    try:
        state.mkdir(parents=True, exist_ok=True)
        (state / "documents").mkdir(mode=0o755, exist_ok=True)
        offers_of(state).mkdir(mode=0o755, exist_ok=True)
        for name in ("audit", "errands"):
            (state / name).mkdir(mode=0o700, exist_ok=True)
        for folder in (freezes_of(state), state / "handed"):
            folder.mkdir(mode=0o755, exist_ok=True)
        eye, mouth = settings.eye_uid, settings.mouth_uid
        folders = (
            (state / "eye", eye, 0o700),
            (clips_of(state), eye, 0o700),
            (state / "mouth", mouth, 0o700),
            (fetched_of(state), mouth, 0o755),
        )
        for folder, uid, mode in folders:
            folder.mkdir(mode=mode, exist_ok=True)
            if uid is not None:
                os.chown(folder, uid, uid)
    except OSError as error:
        raise StartRefusedError(f"the state folder {state} cannot be used: {error.strerror}; give --state") from None
    return state
