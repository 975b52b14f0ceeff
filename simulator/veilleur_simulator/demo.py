"""Demo: real agents count real footage and a rendered street, and a fleet shows it live; then the books are compared.

broker ◀── agents (box, eye, mouth) ── clip, street        Ctrl-C or --seconds: agents first, each drains to the fleet,
   └──▶ fleet ──▶ page                                     then the books are compared, then the rest is ended
   └──▶ ledger (an independent consumer)
"""

import contextlib
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from veilleur_agent.confine.process import lacking_here
from veilleur_contracts.clock import Clock
from veilleur_simulator.balance import Balance, Tally, balance_of, counts_of, read_tally, total_of
from veilleur_simulator.broker import Broker, Kind, broker_in
from veilleur_simulator.errors import PartFailedError
from veilleur_simulator.ledger import Ledger
from veilleur_simulator.processes import LOOPBACK, Child, free_port, port_is_free, program_command, wait_until
from veilleur_simulator.stage import BoxToPlay, Stage, set_stage

PAGE_PORT: Final = 8080
FLEET_WITHIN_S: Final = 60.0
AGENTS_WITHIN_S: Final = 120.0
DRAIN_WITHIN_S: Final = 45.0
SETTLE_WITHIN_S: Final = 30.0
LOOK_EVERY_S: Final = 0.5

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the demo went.

    Attributes:
        balance: The books held against each other.
        first_count_s: Seconds from the start of the first part to the first crossing that a consumer was told of.
    """

    balance: Balance
    first_count_s: float | None

    def summary(self) -> dict[str, object]:
        """Return the one JSON object of a headless demo; ``fps`` is of all cameras together."""
        return {
            "cameras": self.balance.cameras(),
            "lost": self.balance.lost,
            "duplicated": self.balance.duplicated,
            "fps": round(sum(self.balance.fps.values()), 2),
            "first_count_s": None if self.first_count_s is None else round(self.first_count_s, 2),
        }


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a demo.

    Attributes:
        source: A clip of the user's own; None: one that is fetched.
        seconds: How long it counts; None: until Ctrl-C.
        broker: Which kind of broker; None: the best there is.
    """

    source: Path | None
    seconds: float | None
    broker: Kind | None


@dataclass(frozen=True, slots=True)
class Show:
    """How a demo is shown.

    Attributes:
        step: Told each thing that is done.
        live: Told again and again how it stands.
        page: Told the address of the page once.
    """

    step: Tell
    live: Tell
    page: Tell


def play(wish: Wish, show: Show, clock: Clock) -> Outcome:
    """Run the whole demo until its time is over or Ctrl-C; whatever happens, everything started is ended.

    Raises:
        TransientError: A part failed; the sentence names it and shows its last lines.
        RejectedError: The source or a cached clip cannot be used.
        KeyboardInterrupt: Ctrl-C came before there was anything to end in good order.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_ended_by_signals())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="veilleur-demo-")))
        stage = set_stage(folder, wish.source, show.step)
        began_s = clock.elapsed_s()
        broker = stack.enter_context(broker_in(folder / "broker", wish.broker))
        show.step(f"broker: {broker.kind} at {broker.url}")
        fleet, url = _fleet(stack, folder, broker)
        ledger = stack.enter_context(Ledger(broker.host, broker.port, clock))
        if lacks := ", ".join(one.value for one in lacking_here()):
            show.step(f"this kernel lacks {lacks}: the agents run unconfined, as no agent of a city may")
        agents = {box.name: stack.enter_context(_agent(box, stage, broker, folder)) for box in stage.boxes}
        _wait_for_frames(stage, [fleet, *agents.values()], show)
        show.page(url)
        _watch(stage, [broker.child, fleet, *agents.values()], ledger, wish.seconds, show)
        _drain(agents, show)
        tallies = {box.name: read_tally(box.state) or Tally() for box in stage.boxes}
        balance = _settled(tallies, folder / "fleet" / "fleet.db", ledger)
        first_s = ledger.books().first_count_s
        return Outcome(balance, None if first_s is None else first_s - began_s)


def _fleet(stack: contextlib.ExitStack, folder: Path, broker: Broker) -> tuple[Child, str]:
    """Start the fleet and wait until it says that it is well."""
    port = PAGE_PORT if port_is_free(PAGE_PORT) else free_port()
    command = program_command("veilleur-fleet", "run", "--data", str(folder / "fleet"), "--broker", broker.url)
    fleet = stack.enter_context(Child("the fleet", [*command, "--listen", f"{LOOPBACK}:{port}"], folder / "fleet.log"))
    url = f"http://{LOOPBACK}:{port}/"

    def is_well() -> bool:
        fleet.check()
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{url}healthz", timeout=2.0).is_success
        return False

    try:
        wait_until(is_well, FLEET_WITHIN_S, f"an answer at {url}healthz", LOOK_EVERY_S / 5)
    except PartFailedError as error:
        raise PartFailedError(str(error) if fleet.exit_code is not None else fleet.told(str(error))) from None
    return fleet, url


def _agent(box: BoxToPlay, stage: Stage, broker: Broker, folder: Path) -> Child:
    """Start an agent under the bench policy."""
    options = ("--site", str(box.site), "--state", str(box.state), "--models", str(stage.models), "--model", box.model)
    command = program_command("veilleur-agent", "run", *options, "--broker", broker.url, "--policy", "bench")
    # a container's kernel cannot say whether the clock is set; nothing counted here outlives the demo
    environment = {"VEILLEUR_TRUST_CLOCK": "true"}
    if lacking_here():  # only files and rendered streets are looked at here; the demo has said so
        environment["VEILLEUR_ALLOW_UNCONFINED"] = "true"
    return Child(f"the agent {box.name}", command, folder / f"{box.name}.log", environment=environment)


def _wait_for_frames(stage: Stage, parts: list[Child], show: Show) -> None:
    """Wait until every camera has been analysed."""
    show.step("waiting for the first frames")
    for box in stage.boxes:
        agent = next(part for part in parts if part.name.endswith(box.name))

        def sees(box: BoxToPlay = box) -> bool:
            for part in parts:
                part.check()
            tally = read_tally(box.state)
            return tally is not None and all(tally.frames.get(camera, 0) > 0 for camera in box.cameras)

        try:
            wait_until(sees, AGENTS_WITHIN_S, f"a frame from {box.name}")
        except PartFailedError as error:
            raise PartFailedError(agent.told(str(error)) if agent.exit_code is None else str(error)) from None


def _watch(stage: Stage, parts: list[Child], ledger: Ledger, seconds: float | None, show: Show) -> None:
    """Show how it stands until the time is over or Ctrl-C."""
    until_s = None if seconds is None else time.monotonic() + seconds
    with contextlib.suppress(KeyboardInterrupt):
        while until_s is None or time.monotonic() < until_s:
            for part in parts:
                part.check()
            show.live(_standing([read_tally(box.state) or Tally() for box in stage.boxes], ledger))
            time.sleep(LOOK_EVERY_S)


def _standing(tallies: list[Tally], ledger: Ledger) -> str:
    """Say in one line how it stands."""
    counts = counts_of(tallies)
    rates = {camera: rate for tally in tallies for camera, rate in tally.fps.items()}
    parts = []
    for camera, rate in sorted(rates.items()):
        labels: dict[str, int] = {}
        for line in counts.get(camera, {}).values():
            for label, count in line.items():
                labels[label] = labels.get(label, 0) + count
        said = ", ".join(f"{label} {count}" for label, count in sorted(labels.items())) or "nobody yet"
        parts.append(f"{camera}: {said} ({rate:.1f} fps)")
    books = ledger.books()
    return " · ".join([*parts, f"crossings {total_of(counts)} counted, {books.crossings} received"])


def _drain(agents: dict[str, Child], show: Show) -> None:
    """End the agents in good order: they close their windows and wait for the fleet's acknowledgement."""
    show.step("ending the agents; each hands over what it has")
    for agent in agents.values():
        agent.interrupt()
    for agent in agents.values():
        try:
            code = agent.wait(DRAIN_WITHIN_S)
        except PartFailedError as error:
            raise PartFailedError(agent.told(str(error))) from None
        if code != 0:
            raise PartFailedError(agent.told(f"{agent.name} ended with exit code {code}"))


def _settled(tallies: dict[str, Tally], database: Path, ledger: Ledger) -> Balance:
    """Return the balance once it is even, or as it stands when it never gets so."""
    balance = balance_of(tallies, database, ledger.books())

    def is_even() -> bool:
        nonlocal balance
        balance = balance_of(tallies, database, ledger.books())
        return balance.is_even

    with contextlib.suppress(PartFailedError):  # the summary says what is uneven
        wait_until(is_even, SETTLE_WITHIN_S, "an even balance", LOOK_EVERY_S / 5)
    return balance


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
