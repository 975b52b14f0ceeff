"""The command that validates a camera: its clip is counted again and compared with somebody's own tally."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.status import Status
from rich.table import Table

from veilleur_agent.settings import DEFAULT_MODEL, settings_of
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.site import VALIDATED_MIN, Camera, read_site

if TYPE_CHECKING:  # pixels only where they are needed
    from veilleur_agent.eye.validate import Score, Tally
    from veilleur_contracts.messages import Label

TALLY_SUFFIX = ".toml"


class ValidationRejectedError(RejectedError):
    """What was asked cannot be validated."""


def validate(
    clip: Annotated[Path, typer.Argument(help="A clip, or a tally whose clip lies beside it.")],
    *,
    truth: Annotated[Path | None, typer.Option("--truth", help="Somebody's tally of the clip, in TOML.")] = None,
    site: Annotated[Path | None, typer.Option("--site", help="Take lines, labels and rate from a site.")] = None,
    camera: Annotated[str | None, typer.Option("--camera", help="Which camera of it.")] = None,
    fps: Annotated[float, typer.Option("--fps", min=0.1, max=30.0, help="Frames analysed per second.")] = 5.0,
    models: Annotated[Path | None, typer.Option("--models", help="Folder of built models.")] = None,
    model: Annotated[str | None, typer.Option("--model", help=f"{DEFAULT_MODEL} by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Measure how well a camera counts: how much of what crosses is found, and how much of what is found is true.

    What is printed at the end goes into the site, under the camera; the fleet then shows counts with their interval.
    """
    from veilleur_agent.eye.validate import (  # noqa: PLC0415 - pixels only where they are needed
        camera_of,
        check_clip,
        crossings_in,
        footage_of,
        read_tally,
        scores_of,
    )
    from veilleur_models.package import load  # noqa: PLC0415 - pixels only where they are needed

    tally = read_tally(_truth_of(clip, truth))
    footage = clip if truth is not None else footage_of(tally, clip.parent)
    check_clip(tally, footage)
    counting = camera_of(tally, footage, fps, _camera_of(site, camera))
    settings = settings_of(models=models, model=model)
    package = load(settings.model_folder / settings.model)
    with _shown() as status:
        crossings = crossings_in(footage, counting, package, lambda n: status.update(f"counting, {n} frames"))
    scores = scores_of(tally, crossings, tally.clip.fps if tally.clip is not None else None)
    if as_json:
        sys.stdout.write(msgspec.json.encode(_document(footage, tally, scores)).decode() + "\n")
    else:
        _print(scores)


def _truth_of(clip: Path, truth: Path | None) -> Path:
    if truth is not None:
        return truth
    if clip.suffix != TALLY_SUFFIX:
        raise ValidationRejectedError(f"{clip} is no tally: give somebody's tally of it with --truth")
    return clip


def _camera_of(site: Path | None, name: str | None) -> Camera | None:
    if site is None:
        return None
    cameras = read_site(site).camera
    found = [one for one in cameras if one.id == name] if name is not None else list(cameras)
    if len(found) != 1:
        known = ", ".join(one.id for one in cameras)
        raise ValidationRejectedError(f"{site}: say with --camera which one is meant; there are {known}")
    return found[0]


def _document(footage: Path, tally: "Tally", scores: "dict[Label, Score]") -> dict[str, Any]:  # JSON, for programs
    return {
        "clip": footage.name,
        "lines": [line.id for line in tally.line],
        "labels": {label.name.lower(): _row(score) for label, score in scores.items()},
    }


def _row(score: "Score") -> dict[str, Any]:
    from veilleur_agent.eye.validate import interval_of  # noqa: PLC0415 - pixels only where they are needed

    return {
        "true": score.true,
        "counted": score.counted,
        "right": score.right,
        "recall": score.right / score.true if score.true else None,
        "recall_90": interval_of(score.right, score.true),
        "precision": score.right / score.counted if score.counted else None,
        "precision_90": interval_of(score.right, score.counted),
        "validated": score.validated,
    }


def _print(scores: "dict[Label, Score]") -> None:
    table = Table("label", "true", "counted", "right", "recall (90 %)", "precision (90 %)")
    for label, score in scores.items():
        row = _row(score)
        shares = (_share(row[name], row[f"{name}_90"]) for name in ("recall", "precision"))
        table.add_row(label.name.lower(), str(score.true), str(score.counted), str(score.right), *shares)
    console = Console()
    console.print(table)
    for label, score in scores.items():
        one = score.validated
        if one is not None:
            sys.stdout.write(f"\n[camera.validated.{label.name.lower()}]\n")
            sys.stdout.write(f"recall = {one.recall}\nprecision = {one.precision}\nn = {one.n}\n")
        else:
            console.print(
                f"{label.name.lower()}: {score.true} true crossings are too few to say more; tally {VALIDATED_MIN} at "
                "least, better a hundred",
                highlight=False,
            )


def _share(share: float | None, interval: tuple[float, float]) -> str:
    return "-" if share is None else f"{share:.1%} ({interval[0]:.1%} to {interval[1]:.1%})"


@contextmanager
def _shown() -> Iterator[Status]:
    """Show on the standard error how far it has come, where somebody looks."""
    with Console(stderr=True).status("loading the model") as status:
        yield status
