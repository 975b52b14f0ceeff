"""The commands of the simulator: a demo, a film of a street, a camera that serves it."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.status import Status
from rich.table import Table

from veilleur_contracts.clock import SystemClock
from veilleur_contracts.errors import RejectedError, TransientError
from veilleur_simulator import rtsp_process
from veilleur_simulator.broker import kind_of
from veilleur_simulator.demo import Outcome, Show, Wish, play
from veilleur_simulator.errors import PartFailedError
from veilleur_simulator.film import write_film
from veilleur_simulator.h264 import read_film
from veilleur_simulator.rtsp_auth import Account
from veilleur_simulator.scenario import read_scenario
from veilleur_simulator.street import Street
from veilleur_simulator.truth import truth_of

LINE_EVERY_S: Final = 10.0
INTERRUPTED: Final = 130

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command(
    epilog="Examples:  veilleur-simulator street simulator/scenarios/street-day.toml --out day.mp4   ·   "
    "veilleur-simulator street simulator/scenarios/street-rain.toml --out rain.mp4 --truth rain.json"
)
def street(
    scenario: Annotated[Path, typer.Argument(help="A scenario, such as simulator/scenarios/street-day.toml.")],
    out: Annotated[Path, typer.Option(help="The film to write (MP4, H.264).")],
    truth: Annotated[Path | None, typer.Option(help="Where to write what is true of it (JSON).")] = None,
) -> None:
    """Render a street as a film, and tell exactly what happens in it."""
    played = read_scenario(scenario)
    with _progress() as progress:
        task = progress.add_task(f"rendering {played.street.name}", total=None)
        write_film(Street(played), out, on_picture=lambda done, of: progress.update(task, completed=done, total=of))
    if truth is not None:
        try:
            truth.write_bytes(truth_of(played) + b"\n")
        except OSError as error:
            raise typer.BadParameter(f"cannot write {truth}: {error.strerror}") from None


@app.command(
    epilog="Examples:  veilleur-simulator rtsp day.mp4 --port 8554   ·   "
    "veilleur-simulator rtsp day.mp4 --name gare --user veilleur --once"
)
def rtsp(
    film: Annotated[Path, typer.Argument(help="An H.264 film, rendered or recorded.")],
    name: Annotated[str, typer.Option(help="Last part of the address.")] = "street",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the loopback; 0: a free one.")] = 0,
    user: Annotated[str | None, typer.Option(help="Who may watch; nobody is asked when this is not given.")] = None,
    password: Annotated[
        str, typer.Option(envvar=rtsp_process.PASSWORD_VARIABLE, help="Their password; better in the environment.")
    ] = "",
    *,
    once: Annotated[bool, typer.Option(help="Hang up at the end instead of beginning again.")] = False,
) -> None:
    """Serve a film by RTSP on the loopback, as a camera would; its address is told on stdout, as JSON."""
    account = None if user is None else Account(user, password)
    asyncio.run(rtsp_process.serve(read_film(film), name, account, loops=not once, port=port, tell=_say))


@app.command(
    epilog="Examples:  veilleur-simulator demo   ·   veilleur-simulator demo --seconds 60 --headless   ·   "
    "veilleur-simulator demo --source street.mp4"
)
def demo(
    seconds: Annotated[float | None, typer.Option(min=1.0, help="Stop by itself after so long; else Ctrl-C.")] = None,
    source: Annotated[Path | None, typer.Option(help="A recorded clip of your own instead of the fetched one.")] = None,
    broker: Annotated[
        str | None, typer.Option(help="mosquitto or amqtt; else Mosquitto where it is installed.")
    ] = None,
    *,
    headless: Annotated[bool, typer.Option("--headless", help="Print one JSON summary on stdout.")] = False,
) -> None:
    """Count real footage and a rendered street live; exit 0 when agents and fleet agree and nothing was lost.

    It runs under the bench policy, 5 s windows and k = 1, which holds for files and rendered streets alone.
    """
    console = Console(stderr=True)
    with console.status("starting") as status:
        outcome = play(Wish(source, seconds, kind_of(broker)), _show(console, status), SystemClock())
    balance = outcome.balance
    if headless:
        _say(msgspec.json.encode(outcome.summary()).decode())
    else:
        console.print(_table(outcome))
    if not balance.is_even:
        raise PartFailedError(
            f"the books do not agree: {balance.lost} lost, {balance.duplicated} twice; see the counts"
        )
    if headless and balance.crossings == 0:
        raise PartFailedError("nothing was counted; give it more seconds, or a clip in which somebody crosses the line")


def main() -> None:
    """Run a command; trouble that has a name becomes one sentence and exit code 1."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (RejectedError, TransientError) as error:
        sys.stderr.write(f"veilleur-simulator: {error}\n")
        sys.exit(1)


def _show(console: Console, status: Status) -> Show:
    """Show a live line on a terminal, and one line in ten seconds elsewhere."""
    shown_s = 0.0

    def live(text: str) -> None:
        nonlocal shown_s
        if console.is_terminal:
            status.update(text)
        elif SystemClock().elapsed_s() - shown_s >= LINE_EVERY_S:
            shown_s = SystemClock().elapsed_s()
            console.print(text, highlight=False, soft_wrap=True)

    def page(url: str) -> None:
        console.print(f"\nLive counts: [bold]{url}[/bold]   (Ctrl-C ends everything)", highlight=False)
        console.print(
            "Bench policy: windows of 5 s and k = 1, for files and rendered streets alone.\n", highlight=False
        )

    return Show(lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True), live, page)


def _table(outcome: Outcome) -> Table:
    table = Table("camera", "line", "label", "agent", "fleet")
    for camera, lines in outcome.balance.cameras().items():
        for line, labels in lines.items():
            for label, cell in labels.items():
                table.add_row(camera, line, label, str(cell["agent"]), str(cell["fleet"]))
    return table


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
