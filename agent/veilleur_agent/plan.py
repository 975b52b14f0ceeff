"""What box has checked and will run, and what follows of it for each child: what it is told, and what it may touch.

Plan ──eye_start──▶ eye        Plan ──mouth_start──▶ mouth        Plan ──hosts──▶ resolver
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from veilleur_agent.budget import Budget, leak_bytes_per_day
from veilleur_agent.enrolment import fetched_of, offers_of, pinned_root
from veilleur_agent.freezes import freezes_of
from veilleur_agent.link import others_budget
from veilleur_agent.settings import AgentSettings, BrokerAddress, DoorAddress
from veilleur_agent.starts import CameraBudget, EyeStart, FleetAt, GatewayStart, Identified, MouthStart, Profile, Reach
from veilleur_contracts.policy import Permissions
from veilleur_contracts.site import Camera, Site

DEFAULT_PORTS: Final = {"rtsp": 554, "http": 80, "https": 443}
DISK_WITHIN_S: Final = 60.0
"""A disk that was full a moment ago may have room again; whoever starts the mouth would only do it again and again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What box has checked and will run.

    Attributes:
        site: What the box should do.
        settings: What it is.
        profile: Which profile holds, or that signed policies say.
        permissions: What it may do; under signed policies, more than any of them can give.
        broker: Where it speaks.
        door: Where its documents are fetched; None: nowhere.
        state: Folder of the box.
        site_file: Copy of the site's bytes for the eye.
        site_sha256: Of those bytes.
        token: The simulator's one-time token.
        budgets: What each camera may say on the link.
        gateway: The sensors beside the box; None: it has none.
        identity: What it is known by, where it enrolled; None: it did not.
    """

    site: Site
    settings: AgentSettings
    profile: Profile
    permissions: Permissions
    broker: BrokerAddress
    state: Path
    site_file: Path
    site_sha256: str
    token: str | None
    budgets: dict[str, Budget]
    door: DoorAddress | None = None
    gateway: GatewayStart | None = None
    identity: Identified | None = None

    def leak_bytes_per_day(self) -> int:
        """Return what a hostile eye could get past the link in one day, at the very most."""
        return leak_bytes_per_day((*self.budgets.values(), others_budget(self.budgets.values())))

    @property
    def audit(self) -> Path:
        """Folder of the audit log."""
        return self.state / "audit"

    @property
    def clips(self) -> Path:
        """Folder of kept stills."""
        return clips_of(self.state)

    @property
    def offers(self) -> Path:
        """Folder of the documents that wait for the eye."""
        return offers_of(self.state)

    @property
    def papers(self) -> Path:
        """Folder of what box hands to the mouth, to be told as it is."""
        return self.state / "handed"

    @property
    def fetched(self) -> Path:
        """Folder of the documents that the mouth fetched."""
        return fetched_of(self.state)

    def hosts(self) -> dict[str, tuple[str, int]]:
        """Return, for each camera on a network, the name and port it is reached at."""
        return hosts_of(self.site.camera)

    def eye_reach(self) -> Reach:
        """Return what the eye may touch; it never grows while the eye runs, so a camera on a new port restarts it."""
        local = [camera.source for camera in self.site.camera if "://" not in camera.source]
        files = [source for source in local if Path(source).is_file()]
        named = (self.site_file.parent, self.fetched, self.settings.model_folder.resolve(), self.settings.secrets)
        return Reach(
            ports=tuple(sorted({port for _, port in self.hosts().values()})),
            read_only=(*(str(path.resolve()) for path in named if path is not None), *files),
            devices=tuple(source for source in local if source not in files),
            others=(str(self.state / "mouth"), str(self.audit)),
            allow_unconfined=self.settings.allow_unconfined,
        )

    def mouth_reach(self) -> Reach:
        """Return what the mouth may touch."""
        secrets = self.settings.secrets
        return Reach(
            ports=tuple(
                sorted({one.port for one in (self.broker, self.door, self.identity, self.gateway) if one is not None})
            ),
            read_only=(str(self.papers),),
            devices=(),
            others=(
                str(self.state / "eye"),
                str(self.clips),
                str(self.audit),
                *(() if secrets is None else (str(secrets.resolve()),)),
            ),
            allow_unconfined=self.settings.allow_unconfined,
        )

    def eye_start(self) -> EyeStart:
        """Return what the eye is told first."""
        secrets = self.settings.secrets
        return EyeStart(
            site=str(self.site_file),
            site_sha256=self.site_sha256,
            state=str(self.state / "eye"),
            models=str(self.settings.model_folder.resolve()),
            model=self.settings.model,
            secrets=None if secrets is None else str(secrets.resolve()),
            profile=self.profile,
            bench_token=self.token,
            trusts_clock=self.settings.trust_clock,
            reach=self.eye_reach(),
            root=str(pinned_root(self.state)) if self.profile == "signed" else None,
            offers=str(self.offers) if self.profile == "signed" else None,
            clips=str(self.clips),
            freezes=str(freezes_of(self.state)),
            fetched=str(self.fetched) if self.profile == "signed" else None,
        )

    def mouth_start(self, addresses: tuple[str, ...], doors: tuple[str, ...] = ()) -> MouthStart:
        """Return what the mouth is told first; ``addresses`` are the broker's, ``doors`` the fleet's."""
        fleet = None
        if self.door is not None:
            fleet = FleetAt(self.door.scheme, self.door.host, doors, self.door.port, str(self.fetched))
        identity = None if self.identity is None else replace(self.identity, addresses=doors)
        budgets = self.budgets.items()
        return MouthStart(
            agent=version("veilleur"),
            box=self.site.site.box,
            controller=self.site.site.controller,
            state=str(self.state / "mouth"),
            profile=self.profile,
            host=self.broker.host,
            addresses=addresses,
            port=self.broker.port,
            user=self.broker.user,
            password=self.broker.password,
            version=self.settings.mqtt_version,
            budgets=tuple(CameraBudget(camera, one.rate_bytes_s, one.burst_bytes) for camera, one in budgets),
            outbox_bytes_max=self.settings.outbox_bytes,
            outbox_age_max_s=self.settings.outbox_days * 86_400,
            reach=self.mouth_reach(),
            papers=str(self.papers),
            fleet=fleet,
            gateway=self.gateway,
            identity=identity,
            disk_within_s=DISK_WITHIN_S,
        )


def clips_of(state: Path) -> Path:
    """Return the folder of kept stills of a box."""
    return state.resolve() / "clips"


def hosts_of(cameras: Sequence[Camera]) -> dict[str, tuple[str, int]]:
    """Return, for each camera on a network, the name and port it is reached at."""
    found = {}
    for camera in cameras:
        if "://" in camera.source:
            url = urlsplit(camera.source)
            found[camera.id] = (url.hostname or "", url.port or DEFAULT_PORTS[url.scheme])
    return found
