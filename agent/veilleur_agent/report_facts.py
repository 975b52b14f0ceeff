"""Turn what box knows and measured into the parts of a privacy report: values in, values out.

site, settings ─┐
standing ───────┼──▶ Law, CameraFacts, ConfinementFacts, … ──▶ Report
measured ───────┘
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from veilleur_agent.confine.report import ConfinementReport
from veilleur_agent.control import BROKER_NAME, FLEET_NAME
from veilleur_agent.plan import Plan
from veilleur_contracts.audit import Process
from veilleur_contracts.policy import STRICTEST, Permissions
from veilleur_contracts.policy_document import PolicyRejectedError
from veilleur_contracts.report import (
    REFERENCES_MAX,
    CameraFacts,
    ConfinementFacts,
    Destination,
    Law,
    Opinion,
    Permitted,
    RedactionFacts,
    Said,
    StopInForce,
    TrialFacts,
    shortened,
)
from veilleur_contracts.site import Camera
from veilleur_contracts.standing import STANDING_BYTES_MAX, Standing, holding_of, recall, why_strict

REDACTION: Final = RedactionFacts("constant", 100, 60, 20, 10, "tests/agent/eye/test_attack.py")
"""As ``eye.redact`` and ``eye.targets`` have it; box cannot ask them, as they hold pictures. A test compares them."""


def standing_in(kept: Path, root: Path) -> Standing | None:
    """Return what the eye has taken, verified again from the root; None where there is nothing that can be believed."""
    try:
        with kept.open("rb") as file:
            data = file.read(STANDING_BYTES_MAX + 1)
        return recall(data, root.read_bytes())
    except (OSError, PolicyRejectedError):
        return None


def law_of(standing: Standing | None, now: datetime) -> Law | None:
    """Return the policy in force as the report tells it."""
    verified = None if standing is None else standing.verified
    if standing is None or verified is None:
        return None
    policy, why = verified.policy, why_strict(standing, now)
    return Law(
        version=policy.version,
        sha256=verified.sha256,
        issued=policy.issued,
        expires=policy.expires,
        signers=tuple(sorted(role.value for role in verified.signers)),
        purpose=shortened(policy.purpose),
        legal_references=policy.legal_references[:REFERENCES_MAX],
        decision=shortened(policy.decision),
        opinions=tuple(
            Opinion(one.role.value, one.day.isoformat(), one.opinion.value, shortened(one.text)) for one in policy.visas
        ),
        stops=tuple(StopInForce(stop.role.value, stop.issued, sha256) for sha256, stop in standing.stops),
        why_strict=None if why is None else why.value,
        root_version=standing.root.version,
    )


def camera_of(
    camera: Camera,
    window_s: int | None,
    fixed: Permissions | None,
    standing: Standing | None,
    *,
    now: datetime,
    said: Said | None,
) -> CameraFacts:
    """Return what the report tells of one camera.

    Args:
        camera: As the site has it.
        window_s: Length of the site's windows; None: the shortest allowed.
        fixed: What holds for every camera where no signed policy does.
        standing: What was signed; with ``fixed`` None alone.
        now: UTC.
        said: What the eye says that it holds the camera to.
    """
    if fixed is not None:
        permissions = fixed
    elif standing is None:
        permissions = STRICTEST
    else:
        permissions = holding_of(standing, camera.id, camera.insee, now).permissions
    labels = camera.label_set()
    return CameraFacts(
        id=camera.id,
        insee=camera.insee,
        source=_source_of(camera),
        labels=tuple(label.name.lower() for label in labels),
        watches=_watches_of(camera),
        window_s=max(window_s or 0, permissions.window_s_for(labels)),
        permitted=permitted_of(permissions),
        said=said,
    )


def permitted_of(permissions: Permissions) -> Permitted:
    """Return ``permissions`` as the report tells them."""
    return Permitted(
        profile=permissions.profile,
        classes=tuple(sorted(one.value for one in permissions.classes)),
        person_window_s=permissions.person_window_s,
        vehicle_window_s=permissions.vehicle_window_s,
        person_cell_min=permissions.person_cell_min,
        keep_images=permissions.keep_images,
        retention_days=permissions.retention_days,
        events=tuple(sorted(one.value for one in permissions.events)),
        aggregates=tuple(sorted(one.value for one in permissions.aggregates)),
        masks=len(permissions.masks),
        masks_decided=permissions.masks_decided,
    )


def destinations_of(plan: Plan, known: Callable[[str], tuple[str, ...]]) -> tuple[Destination, ...]:
    """Return everywhere the mouth may speak.

    Args:
        plan: What the box is.
        known: Where a name leads now.
    """
    broker, door, gateway = plan.broker, plan.door or plan.identity, plan.gateway
    found = [Destination(broker.host, broker.port, known(BROKER_NAME))]
    if door is not None:
        found.append(Destination(door.host, door.port, known(FLEET_NAME), "door"))
    if gateway is not None:
        found.append(Destination(gateway.address, gateway.port, (gateway.address,), "gateway"))
    return tuple(found)


def confinement_of(reports: Mapping[str, ConfinementReport], uids: Mapping[str, int]) -> tuple[ConfinementFacts, ...]:
    """Return what each process measured of itself."""
    return tuple(
        ConfinementFacts(
            process=Process(name),
            uid=uids[name],
            landlock_version=report.landlock_version,
            filter_instructions=report.filter_instructions,
            missing=tuple(one.value.replace("_", "-") for one in report.missing),
            trials=tuple(TrialFacts(one.number, int(one.outcome), one.code) for one in report.trials),
            breaches=report.breaches,
        )
        for name, report in sorted(reports.items())
    )


def _source_of(camera: Camera) -> str:
    if "://" in camera.source:
        return urlsplit(camera.source).scheme
    return "device" if camera.source.startswith("/dev/") else "file"


def _watches_of(camera: Camera) -> tuple[str, ...]:
    watched = {
        "lines": bool(camera.line),
        "one-way": any(line.one_way for line in camera.line),
        "zones": bool(camera.zone),
        "limits": any(zone.limit_s for zone in camera.zone),
        "objects": any(zone.objects for zone in camera.zone),
        "road": any(zone.road for zone in camera.zone),
        "speeds": camera.ground is not None,
    }
    return tuple(name for name, is_watched in watched.items() if is_watched)
