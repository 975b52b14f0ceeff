"""The words of the page for what the wire says in numbers."""

from typing import Final

from veilleur_contracts.messages import CameraState, Direction, Label, Quality, ViewFault


def N_(sentence: str) -> str:  # noqa: N802 - gettext's own name for "to be translated where it is shown"
    """Mark ``sentence`` for translation."""
    return sentence


LABELS: Final = {
    Label.PERSON: N_("Pedestrians"),
    Label.BICYCLE: N_("Bicycles"),
    Label.CAR: N_("Cars"),
    Label.MOTORCYCLE: N_("Motorcycles"),
    Label.BUS: N_("Buses"),
    Label.TRUCK: N_("Lorries"),
}

DIRECTIONS: Final = {
    Direction.LEFT_TO_RIGHT: N_("Left to right"),
    Direction.RIGHT_TO_LEFT: N_("Right to left"),
}

STATES: Final = {
    CameraState.CONNECTING: N_("Connecting"),
    CameraState.LIVE: N_("Live"),
    CameraState.STALLED: N_("No picture"),
    CameraState.FROZEN: N_("Frozen picture"),
    CameraState.AUTH_FAILED: N_("Wrong password"),
    CameraState.BACKOFF: N_("Unreachable"),
    CameraState.ENDED: N_("Ended"),
    CameraState.STOPPED: N_("Stopped by order"),
    CameraState.FORBIDDEN: N_("Not allowed to run"),
}
SILENT: Final = N_("Silent")

QUALITIES: Final = {
    Quality.CLOCK_UNSYNCED: N_("clock not synchronised"),
    Quality.LOW_COVERAGE: N_("partly observed"),
    Quality.RESTARTED: N_("restarted"),
    Quality.SPLIT: N_("split by a change of site"),
    Quality.DEGRADED: N_("fewer frames than wanted"),
    Quality.GATED: N_("analysed on motion only"),
    Quality.QUARANTINED: N_("view not to be trusted"),
}

FAULTS: Final = {
    ViewFault.DARK: N_("too dark to see"),
    ViewFault.COVERED: N_("camera covered"),
    ViewFault.DEFOCUSED: N_("out of focus"),
    ViewFault.MOVED: N_("camera moved"),
}

PERIODS: Final = {"1h": N_("1 hour"), "24h": N_("24 hours"), "7d": N_("7 days")}
