"""What the eye is given, read and verified by the eye itself: site, secrets, permissions, model."""

import hashlib
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from veilleur_agent.control import RefusedReason
from veilleur_agent.eye.errors import EyeRefusedError
from veilleur_agent.eye.ground import GroundRejectedError
from veilleur_agent.eye.watching import ground_of
from veilleur_agent.starts import EyeStart
from veilleur_contracts.envelope import ENVELOPE_BYTES_MAX
from veilleur_contracts.policy import (
    BENCH,
    HASH_DIGITS,
    STRICTEST,
    BenchRefusedError,
    Permissions,
    check_bench_source,
    digest_of,
)
from veilleur_contracts.policy_effect import LOOSEST_SIGNED
from veilleur_contracts.site import SITE_BYTES_MAX, Camera, Site, SiteRejectedError, parse_site, site_hash_of
from veilleur_models.catalogue import FACE_DETECTOR
from veilleur_models.errors import ModelRejectedError
from veilleur_models.package import ModelPackage, load

SECRETS_BYTES_MAX: Final = 65_536
PRIVATE: Final = 0o077
PROFILES: Final[Mapping[str, Permissions]] = {"bench": BENCH, "strictest": STRICTEST, "signed": LOOSEST_SIGNED}
"""What may be asked for at most; what a camera may really do is for its mandate to say."""


@dataclass(frozen=True, slots=True)
class Hashes:
    """What every Context names: first 64 bits of the SHA-256 of site, policy and model."""

    site: str
    policy: str
    model: str


@dataclass(frozen=True, slots=True)
class EyeSettings:
    """Everything one eye needs.

    Attributes:
        site: What to do.
        permissions: What may be told; under signed policies, more than any of them can give.
        trusts_clock: Whether the clock counts as set, whatever the kernel says.
        package: The model.
        hashes: Of all three.
        passwords: By name of the secret.
        checkpoint: Where to keep what must survive.
        root: The pinned root, where signed policies hold; None: the profile does.
        offers: Folder that documents are put into.
        files: Cameras that are recorded files, and so no street.
        clips: Folder of kept stills; None: one beside the checkpoint.
        freezes: Folder of freezes; the same.
        faces: The model of faces, where stills are to be kept.
    """

    site: Site
    permissions: Permissions
    trusts_clock: bool
    package: ModelPackage
    hashes: Hashes
    passwords: Mapping[str, str] = field(repr=False)
    checkpoint: Path
    root: bytes | None = None
    offers: Path = Path("/nonexistent")
    fetched: Path = Path("/nonexistent")
    files: frozenset[str] = frozenset()
    clips: Path | None = None
    freezes: Path | None = None
    faces: ModelPackage | None = None

    def window_s(self, camera: Camera) -> int:
        """Return the length of a window of ``camera``, seconds: as the site asks, and never under what is allowed."""
        return max(self.site.site.window_s or 0, self.permissions.window_s_for(camera.label_set()))


def settings_of(start: EyeStart) -> EyeSettings:
    """Read and verify what ``start`` names.

    Raises:
        EyeRefusedError: Something is not as box said, or not as it must be.
    """
    site = _site_of(start)
    permissions = PROFILES[start.profile]
    passwords = _passwords_of(start, site)
    for camera in site.camera:
        if start.profile == "bench":
            _check_bench(camera, start.bench_token)
        if (site.site.window_s or permissions.person_window_s) < permissions.window_s_for(camera.label_set()):
            raise EyeRefusedError(RefusedReason.WINDOW, camera.id)
        _check_ground(camera)
    package = _package_of(start)
    hashes = Hashes(
        site=site_hash_of(site)[:HASH_DIGITS],
        policy=digest_of(permissions),
        model=hashlib.sha256(package.xml + package.weights).hexdigest()[:HASH_DIGITS],
    )
    trusts_clock = start.trusts_clock or start.profile == "bench"
    checkpoint = Path(start.state) / "eye.checkpoint"
    files = frozenset(camera.id for camera in site.camera if _is_file(camera))
    return EyeSettings(
        site,
        permissions,
        trusts_clock,
        package,
        hashes,
        passwords,
        checkpoint,
        root=_root_of(start),
        offers=Path(start.offers or "/nonexistent"),
        fetched=Path(start.fetched or "/nonexistent"),
        files=files,
        clips=None if start.clips is None else Path(start.clips),
        freezes=None if start.freezes is None else Path(start.freezes),
        faces=_faces_of(start, site, permissions),
    )


def _site_of(start: EyeStart) -> Site:
    try:
        with Path(start.site).open("rb") as file:
            data = file.read(SITE_BYTES_MAX + 1)
        if hashlib.sha256(data).hexdigest() == start.site_sha256:
            return parse_site(data, "site")
    except (OSError, SiteRejectedError):
        raise EyeRefusedError(RefusedReason.SITE) from None
    raise EyeRefusedError(RefusedReason.SITE)


def _root_of(start: EyeStart) -> bytes | None:
    if start.profile != "signed":
        return None
    try:
        with Path(start.root or "").open("rb") as file:
            return file.read(ENVELOPE_BYTES_MAX + 1)
    except OSError:
        raise EyeRefusedError(RefusedReason.ROOT) from None


def _is_file(camera: Camera) -> bool:
    try:
        return "://" not in camera.source and stat.S_ISREG(Path(camera.source).stat().st_mode)
    except OSError:
        return False


def _check_bench(camera: Camera, token: str | None) -> None:
    try:
        check_bench_source(camera.source, is_regular_file=_is_file(camera), token=token)
    except BenchRefusedError:
        raise EyeRefusedError(RefusedReason.BENCH, camera.id) from None


def _check_ground(camera: Camera) -> None:
    try:
        ground_of(camera)
    except GroundRejectedError:
        raise EyeRefusedError(RefusedReason.GROUND, camera.id) from None


def _passwords_of(start: EyeStart, site: Site) -> dict[str, str]:
    """Read the passwords of the cameras of ``site``, and no others."""
    wanted = {camera.secret: camera.id for camera in site.camera if camera.secret is not None}
    if not wanted:
        return {}
    held = {} if start.secrets is None else _read_secrets(Path(start.secrets))
    for secret, camera in wanted.items():
        if not isinstance(held.get(secret), str):
            raise EyeRefusedError(RefusedReason.SECRETS, camera)
    return {secret: str(held[secret]) for secret in wanted}


def _read_secrets(path: Path) -> dict[str, object]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            if found.st_mode & PRIVATE or found.st_uid != os.geteuid() or found.st_size > SECRETS_BYTES_MAX:
                raise EyeRefusedError(RefusedReason.SECRETS)
            return tomllib.loads(file.read(SECRETS_BYTES_MAX).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        raise EyeRefusedError(RefusedReason.SECRETS) from None


def _faces_of(start: EyeStart, site: Site, permissions: Permissions) -> ModelPackage | None:
    """Return the model of faces, without which no still is kept; None where none is asked for or none may be kept."""
    if not permissions.keep_images or all(camera.keep is None for camera in site.camera):
        return None
    try:
        return load(Path(start.models) / FACE_DETECTOR)
    except ModelRejectedError:
        raise EyeRefusedError(RefusedReason.FACES) from None


def _package_of(start: EyeStart) -> ModelPackage:
    try:
        return load(Path(start.models) / start.model)
    except ModelRejectedError:
        raise EyeRefusedError(RefusedReason.MODEL) from None
