"""Read a scenario: a street, who moves in it and what goes wrong, refused with a sentence when it cannot be played.

    [street]                      [[user]]                       [[flow]]
    name = "street-day"           label = "person"               label = "car"
    seconds = 60                  enters_s = 2.0                 every_s = 8.0
    seed = 7                      speed_mps = 1.4                speed_mps = [8.0, 12.0]
                                  path = [[-9, 14], [9, 14]]     path = [[-40, 20], [40, 20]]

Paths are metres on the ground: x to the right, z away from the camera. Lines, zones, occluders and nudges are
fractions of the frame.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.ids import Slug
from veilleur_contracts.messages import Label
from veilleur_contracts.site import Line, Zone, check_line
from veilleur_simulator.camera import Pinhole
from veilleur_simulator.errors import ScenarioRejectedError

SCENARIO_BYTES_MAX: Final = 262_144
NEAREST_M: Final = 1.0
"""Depth below which nothing may stand: a sprite there would fill the frame."""

Seconds = Annotated[float, Meta(ge=0.0, le=86_400.0)]
Metres = Annotated[float, Meta(ge=-500.0, le=500.0)]
Ground = tuple[Metres, Metres]
Speed = Annotated[float, Meta(gt=0.0, le=70.0)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Path2 = Annotated[tuple[Ground, ...], Meta(min_length=2, max_length=64)]
LabelName = Literal["person", "bicycle", "car", "motorcycle", "bus", "truck"]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of a scenario; unknown keys are refused."""


class Frame(Part, frozen=True):
    """The street itself and the film made of it.

    Attributes:
        name: Its name.
        seconds: How long it is played.
        seed: Decides everything left to chance.
        width: Pixels, even.
        height: Pixels, even.
        fps: Frames per second.
        noise: Sensor noise, standard deviation in grey levels.
        rain: How hard it rains, 0-1.
        canary: Whether the background bears a pattern of known bytes, to be searched for where no pixel may be.
    """

    name: Slug
    seconds: Annotated[float, Meta(gt=0.0, le=86_400.0)]
    seed: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)] = 1
    width: Annotated[int, Meta(ge=64, le=3840, multiple_of=2)] = 1280
    height: Annotated[int, Meta(ge=64, le=2160, multiple_of=2)] = 720
    fps: Annotated[float, Meta(gt=0.0, le=60.0)] = 12.5
    noise: Annotated[float, Meta(ge=0.0, le=30.0)] = 1.5
    rain: Fraction = 0.0
    canary: bool = False


class CameraPlace(Part, frozen=True):
    """Where the camera stands; see ``camera.Pinhole``."""

    height_m: Annotated[float, Meta(ge=2.0, le=60.0)] = 6.0
    tilt_deg: Annotated[float, Meta(ge=5.0, le=80.0)] = 22.0
    hfov_deg: Annotated[float, Meta(ge=15.0, le=120.0)] = 70.0


class User(Part, frozen=True):
    """One road user on one path.

    Attributes:
        label: What it is.
        path: Where it goes, metres.
        enters_s: When it stands at the first point.
        speed_mps: Its speed on the ground.
        waits_s: How long it waits at each point of the path; shorter than the path means no wait at the rest.
    """

    label: LabelName
    path: Path2
    enters_s: Seconds = 0.0
    speed_mps: Speed = 1.4
    waits_s: Annotated[tuple[Seconds, ...], Meta(max_length=64)] = ()


class Flow(Part, frozen=True):
    """Road users who come one after another, drawn by chance from the seed.

    Attributes:
        label: What they are.
        path: Where they go, metres.
        every_s: Mean time from one to the next.
        gap_s: Least time from one to the next.
        from_s: When the first may come.
        to_s: When the last may come; None: until the end.
        speed_mps: Slowest and fastest.
        spread_m: How far beside the path one may go, metres either way.
        both_ways: Whether half of them go the other way.
    """

    label: LabelName
    path: Path2
    every_s: Annotated[float, Meta(ge=0.1, le=3600.0)]
    gap_s: Annotated[float, Meta(ge=0.0, le=3600.0)] = 1.0
    from_s: Seconds = 0.0
    to_s: Seconds | None = None
    speed_mps: tuple[Speed, Speed] = (1.0, 1.6)
    spread_m: Annotated[float, Meta(ge=0.0, le=20.0)] = 0.0
    both_ways: bool = False


class Standing(Part, frozen=True):
    """A road user that does not move: a parked car, somebody waiting."""

    label: LabelName
    at: Ground
    from_s: Seconds = 0.0
    to_s: Seconds | None = None


class Dumped(Part, frozen=True):
    """A bulky object left on the street: no road user, so no colour of theirs."""

    at: Ground
    from_s: Seconds = 0.0
    to_s: Seconds | None = None
    size_m: tuple[Annotated[float, Meta(gt=0.0, le=10.0)], Annotated[float, Meta(gt=0.0, le=10.0)]] = (1.6, 0.9)


class Occluder(Part, frozen=True):
    """Something fixed in the foreground: a pole, a bus stop. ``box`` is ``x1, y1, x2, y2`` in fractions."""

    box: tuple[Fraction, Fraction, Fraction, Fraction]


class Nudge(Part, frozen=True):
    """The camera is knocked: from ``at_s`` on, the whole view is shifted by ``by``, fractions of the frame."""

    at_s: Seconds
    by: tuple[Annotated[float, Meta(ge=-0.1, le=0.1)], Annotated[float, Meta(ge=-0.1, le=0.1)]]


class Light(Part, frozen=True):
    """From one moment given to the next, the light goes evenly from gain to gain."""

    at_s: Seconds
    gain: Annotated[float, Meta(ge=0.02, le=2.0)]


class Fault(Part, frozen=True):
    """Something is wrong with the picture for a while."""

    kind: Literal["covered", "defocused", "dark", "frozen"]
    from_s: Seconds
    to_s: Seconds


class Scenario(Part, frozen=True):
    """Everything a street needs in order to be played, again and again the same."""

    street: Frame
    camera: CameraPlace = CameraPlace()
    user: Annotated[tuple[User, ...], Meta(max_length=2000)] = ()
    flow: Annotated[tuple[Flow, ...], Meta(max_length=32)] = ()
    standing: Annotated[tuple[Standing, ...], Meta(max_length=200)] = ()
    dumped: Annotated[tuple[Dumped, ...], Meta(max_length=50)] = ()
    occluder: Annotated[tuple[Occluder, ...], Meta(max_length=16)] = ()
    nudge: Annotated[tuple[Nudge, ...], Meta(max_length=16)] = ()
    light: Annotated[tuple[Light, ...], Meta(max_length=200)] = ()
    fault: Annotated[tuple[Fault, ...], Meta(max_length=16)] = ()
    line: Annotated[tuple[Line, ...], Meta(max_length=16)] = ()
    zone: Annotated[tuple[Zone, ...], Meta(max_length=16)] = ()

    def pinhole(self) -> Pinhole:
        """Return the camera that films this street."""
        place = self.camera
        return Pinhole(place.height_m, place.tilt_deg, place.hfov_deg, self.street.width, self.street.height)


def label_of(name: str) -> Label:
    """Return the label that a scenario calls ``name``."""
    return Label[name.upper()]


def read_scenario(path: Path) -> Scenario:
    """Read and check a scenario.

    Raises:
        ScenarioRejectedError: Missing, too large, not TOML, an unknown key, or something that cannot be played.
    """
    try:
        with path.open("rb") as file:
            data = file.read(SCENARIO_BYTES_MAX + 1)
    except OSError as error:
        raise ScenarioRejectedError(f"cannot read scenario {path}: {error.strerror}") from None
    if len(data) > SCENARIO_BYTES_MAX:
        raise ScenarioRejectedError(f"scenario {path} is longer than {SCENARIO_BYTES_MAX} bytes")
    return parse_scenario(data, str(path))


def parse_scenario(data: bytes, name: str) -> Scenario:
    """Read and check a scenario; ``name`` is what the error calls it.

    Raises:
        ScenarioRejectedError: As ``read_scenario``.
    """
    try:
        scenario = msgspec.convert(tomllib.loads(data.decode("utf-8")), Scenario)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ScenarioRejectedError(f"{name} is not TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise ScenarioRejectedError(f"{name}: {error}; see simulator/scenarios for examples") from None
    check_scenario(scenario, name)
    return scenario


def check_scenario(scenario: Scenario, name: str) -> None:
    """Refuse what the types alone let through.

    Raises:
        ScenarioRejectedError: Somebody stands behind the camera, a path does not move, times or speeds run backwards,
            or a line cannot be crossed.
    """
    movers: tuple[User | Flow, ...] = (*scenario.user, *scenario.flow)
    for index, mover in enumerate(movers):
        where = f"{name}: path {index + 1} ({mover.label})"
        if any(a == b for a, b in zip(mover.path, mover.path[1:], strict=False)):
            raise ScenarioRejectedError(f"{where}: two points in a row are the same; use waits_s to wait")
        _check_in_front(scenario, mover.path, where)
    places: tuple[Standing | Dumped, ...] = (*scenario.standing, *scenario.dumped)
    for place in places:
        _check_in_front(scenario, (place.at,), f"{name}: what stands at {place.at}")
    for flow in scenario.flow:
        if flow.speed_mps[0] > flow.speed_mps[1]:
            raise ScenarioRejectedError(f"{name}: flow of {flow.label}: speed_mps is [slowest, fastest]")
    moments = [light.at_s for light in scenario.light]
    if moments != sorted(moments):
        raise ScenarioRejectedError(f"{name}: light: at_s must rise from one to the next")
    spans: tuple[Standing | Dumped | Flow | Fault, ...] = (*places, *scenario.flow, *scenario.fault)
    for span in spans:
        if span.to_s is not None and span.to_s <= span.from_s:
            raise ScenarioRejectedError(f"{name}: something lasts from {span.from_s} to {span.to_s} s; to_s is later")
    _check_lines(scenario, name)


def _check_in_front(scenario: Scenario, path: tuple[Ground, ...], where: str) -> None:
    depth = scenario.pinhole().homography()[2]
    for x_m, z_m in path:
        if depth[0] * x_m + depth[1] * z_m + depth[2] < NEAREST_M:
            raise ScenarioRejectedError(f"{where}: ({x_m}, {z_m}) is behind the camera or too near; give a larger z")


def _check_lines(scenario: Scenario, name: str) -> None:
    ids = [line.id for line in scenario.line] + [zone.id for zone in scenario.zone]
    if len(ids) != len(set(ids)):
        raise ScenarioRejectedError(f"{name}: two lines or zones bear the same id; every id is used once")
    for line in scenario.line:
        try:
            check_line(line, name)
        except RejectedError as error:
            raise ScenarioRejectedError(str(error)) from None
