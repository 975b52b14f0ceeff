"""Get everything ready that the demo plays with: models, footage, a rendered street, sites.

veilleur-models build ─▶ models      footage_in ─▶ clip ─┐
                                     Street ────▶ film ──┴─▶ site.toml of each box
"""

import importlib.resources
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final

from veilleur_models.settings import read_settings
from veilleur_simulator.errors import PartFailedError
from veilleur_simulator.film import write_film
from veilleur_simulator.footage import VTEST, footage_in, own_footage
from veilleur_simulator.processes import Child, program_command
from veilleur_simulator.scenario import parse_scenario
from veilleur_simulator.street import Street

ROAD_USERS: Final = "nanodet-g-640x384"
FACES: Final = "centerface"
SPRITES: Final = "sprite"
MODELS_WITHIN_S: Final = 1800.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BoxToPlay:
    """One box of the demo.

    Attributes:
        name: Its id.
        site: Its ``site.toml``.
        state: The folder of its state.
        model: The model it runs.
        cameras: Ids of its cameras.
    """

    name: str
    site: Path
    state: Path
    model: str
    cameras: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """All that is ready.

    Attributes:
        models: The folder of built models.
        boxes: The boxes to start.
    """

    models: Path
    boxes: tuple[BoxToPlay, ...]


def set_stage(folder: Path, source: Path | None, tell: Tell) -> Stage:
    """Get everything ready in ``folder``; models and footage are cached elsewhere and found again.

    Raises:
        PartFailedError: The models could not be built.
        FootageRejectedError: ``source`` is no file, or no video.
        FootageUnreachableError: There is no source of footage.
    """
    settings = read_settings()
    clip = None if source is None else own_footage(source)
    build_models(ROAD_USERS, FACES, SPRITES)
    clip = clip or footage_in(settings.cache.parent / "footage", tell).resolve()
    tell("rendering a street")
    film = folder / "street.mp4"
    write_film(Street(parse_scenario(_staged("street.toml").encode(), "the demo's street")), film)
    template = "site-vtest.toml" if clip.name == VTEST.name else "site-clip.toml"
    return Stage(
        settings.cache,
        (
            _box(folder, "demo-place", _filled(template, clip), ROAD_USERS, "place"),
            _box(folder, "demo-street", _filled("site-street.toml", film), SPRITES, "avenue"),
        ),
    )


def build_models(*names: str) -> None:
    """Build what the cache lacks, showing how that goes.

    Raises:
        PartFailedError: They could not be built.
    """
    with Child("veilleur-models build", program_command("veilleur-models", "build", *names), None) as child:
        if child.wait(MODELS_WITHIN_S) != 0:
            raise PartFailedError("the models could not be built: see the sentence above")


def _box(folder: Path, name: str, site: str, model: str, camera: str) -> BoxToPlay:
    (folder / name).mkdir()
    (folder / f"{name}.toml").write_text(site, encoding="utf-8")
    return BoxToPlay(name, folder / f"{name}.toml", folder / name, model, (camera,))


def _filled(template: str, source: Path) -> str:
    # a JSON string is a TOML string, whatever stands in the path
    return Template(_staged(template)).substitute(source=json.dumps(str(source)))


def _staged(name: str) -> str:
    return importlib.resources.files("veilleur_simulator").joinpath("props", name).read_text(encoding="utf-8")
