"""A whole box with its real children, the sprite detector, a rendered street and a real broker."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fleet_double import Ledger, fleet_at
from journeys.town import command_of, descendants_of, film_of, scenario_of, site_of
from model_builders import built_sprite
from veilleur_agent import plan as plans
from veilleur_agent.box import Box
from veilleur_agent.errors import StartRefusedError
from veilleur_agent.plan import Plan
from veilleur_agent.preflight import plan_of
from veilleur_agent.settings import settings_of
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.messages import CameraHealth, CameraState, CrossingWindow
from veilleur_simulator.broker import Broker, broker_in
from veilleur_simulator.processes import Child, program_command, wait_until
from waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]
WITHIN_S = 45.0
CROSSINGS_A_SECOND_MAX = 3


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_sprite(tmp_path_factory.mktemp("models")).folder


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_of(scenario_of("street-busy"), tmp_path_factory.mktemp("film"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with broker_in(tmp_path / "broker") as one:
        yield one


class Watched:
    """A box that runs, its log, and the ledger of its fleet."""

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        self.told: list[tuple[str, dict[str, object]]] = []
        self.ledger = ledger
        self.plan = plan
        self.box = Box(plan, lambda event, **values: self.told.append((event, values)), SystemClock())

    def events(self, name: str) -> list[dict[str, object]]:
        return [values for event, values in self.told if event == name]

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition, WITHIN_S)

    def windows(self) -> list[CrossingWindow]:
        return [record for record in self.ledger.records.values() if isinstance(record, CrossingWindow)]

    def counted(self) -> int:
        return sum(count or 0 for window in self.windows() for count in window.counts)

    def tallied(self) -> int:
        document = self.box._tally.document() if self.box._tally else {"cameras": {}}
        lines = [line for camera in document["cameras"].values() for line in camera.values()]
        return sum(count for line in lines for ways in line.values() for count in ways.values())


Running = Callable[..., object]


@pytest.fixture
def running(tmp_path, models, film, broker) -> Running:
    @asynccontextmanager
    async def run(site: str | None = None) -> AsyncIterator[Watched]:
        (tmp_path / "site.toml").write_text(site or site_of(str(film), loop=True), encoding="utf-8")
        settings = settings_of(
            state=tmp_path / "state", models=models, model="sprite", policy="bench", broker=broker.url
        )
        watched = Watched(plan_of(tmp_path / "site.toml", settings), Ledger())
        async with fleet_at(broker.host, broker.port, watched.ledger):
            task = asyncio.create_task(watched.box.run(), name="box")
            try:
                yield watched
                watched.box.stop()
                assert await task == 0
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            assert (watched.box.eye.pid, watched.box.mouth.pid) == (None, None)

    return run


async def test_what_its_line_counters_made_is_what_the_fleet_has_after_a_stop(running) -> None:
    async with running() as one:
        await one.until(lambda: one.counted() > 0)
    assert one.counted() == one.tallied() > 0
    assert one.events("box.stopped") == [{"is_clean": True}]
    assert [values["child"] for values in one.events("child.ready")] == ["mouth", "eye"]
    assert one.events("child.output_dropped") == []
    healths = [record for record in one.ledger.records.values() if isinstance(record, CameraHealth)]
    assert CameraState.LIVE in {health.state for health in healths}
    assert (one.plan.state / "tally.json").exists()


async def test_rubbish_from_the_eye_cuts_it_off_and_the_next_eye_counts_on(running) -> None:
    async with running() as one:
        await one.until(lambda: one.counted() > 0)
        one.box._eye_link.send(b"\xff\xd8\xff\xe0" + b"a picture" * 50)
        await one.until(lambda: one.box.eye.starts == 2 and bool(one.events("link.reopened")))
        before = one.counted()
        await one.until(lambda: one.counted() > before)
    assert one.events("link.peer_cut") == [{"child": "eye", "reason": "undecodable"}]
    assert one.box.mouth.starts == 1, "the mouth is not at fault"
    keys = [(window.context, window.at_s, window.line, window.quality) for window in one.windows()]
    assert len(keys) == len(set(keys))


async def test_rubbish_from_the_mouth_cuts_it_off_and_nothing_is_lost(running) -> None:
    async with running() as one:
        await one.until(lambda: one.counted() > 0)
        one.box._mouth_link.send(b"")
        await one.until(lambda: one.box.mouth.starts == 2 and len(one.events("child.ready")) == 3)
        before = one.counted()
        await one.until(lambda: one.counted() > before)
    assert one.events("link.peer_cut") == [{"child": "mouth", "reason": "empty"}]
    assert one.box.eye.starts == 1
    assert one.counted() == one.tallied()


async def test_an_eye_that_is_killed_takes_up_its_windows_and_says_so(running) -> None:
    async with running() as one:
        await one.until(lambda: one.counted() > 0)
        assert one.box.eye.pid is not None
        os.kill(one.box.eye.pid, signal.SIGKILL)
        await one.until(lambda: len(one.events("child.ready")) == 3)
        before = one.counted()
        await one.until(lambda: one.counted() > before)
    assert one.events("windows.restored") == [{"child": "eye", "camera": "avenue"}]
    assert one.events("child.ended")[0]["code"] == -signal.SIGKILL
    # The tally is told once a second and the windows are on disk sooner: a kill may take a second of it.
    assert one.counted() <= one.tallied() + CROSSINGS_A_SECOND_MAX


async def test_a_model_that_was_tampered_with_is_refused_with_one_sentence(tmp_path, film, broker) -> None:
    folder = built_sprite(tmp_path / "models").folder
    weights = folder / "sprite" / "model.xml"
    weights.write_bytes(weights.read_bytes().replace(b"sprite", b"spriet", 1) + b" ")
    (tmp_path / "site.toml").write_text(site_of(str(film)), encoding="utf-8")
    settings = settings_of(state=tmp_path / "state", models=folder, model="sprite", policy="bench", broker=broker.url)
    box = Box(plan_of(tmp_path / "site.toml", settings), lambda *_, **__: None, SystemClock())
    with pytest.raises(StartRefusedError, match="veilleur-models build") as refusal:
        await asyncio.wait_for(box.run(), WITHIN_S)
    assert "\n" not in str(refusal.value)
    assert (box.eye.pid, box.mouth.pid) == (None, None)


async def test_a_mouth_whose_disk_refuses_at_its_first_start_ends_the_box_with_the_remedy(
    tmp_path, models, film, broker, monkeypatch
) -> None:
    monkeypatch.setattr(plans, "DISK_WITHIN_S", 0.6)
    (tmp_path / "site.toml").write_text(site_of(str(film)), encoding="utf-8")
    settings = settings_of(state=tmp_path / "state", models=models, model="sprite", policy="bench", broker=broker.url)
    plan = plan_of(tmp_path / "site.toml", settings)
    (plan.state / "mouth" / "outbox.sqlite").mkdir()  # a disk that refuses, for root too
    box = Box(plan, lambda *_, **__: None, SystemClock())
    with pytest.raises(StartRefusedError, match="the disk refuses the outbox in the state folder: it is full"):
        await asyncio.wait_for(box.run(), WITHIN_S)


async def test_a_mouth_that_starts_again_on_a_full_disk_says_so_and_waits_for_room(running) -> None:
    async with running() as one:
        await one.until(lambda: one.counted() > 0)
        outbox, aside = one.plan.state / "mouth" / "outbox.sqlite", one.plan.state / "mouth" / "aside"
        outbox.rename(aside)
        outbox.mkdir()
        one.box.mouth.kill()
        await one.until(lambda: one.events("outbox.awaited") == [{"child": "mouth"}])
        assert one.box.eye.pid is not None, "the eye goes on and keeps what it counts"
        outbox.rmdir()
        aside.rename(outbox)
        before = one.counted()
        await one.until(lambda: one.counted() > before)
    assert one.events("mouth.refused") == []
    assert one.counted() == one.tallied()


async def test_a_second_request_to_stop_waits_for_nothing(running, broker) -> None:
    async with running() as one:
        await one.until(lambda: one.counted() > 0)
        one.ledger.acks_held = True
        await asyncio.to_thread(broker.stop)
        one.box.stop()
        await one.until(lambda: any(event == "eye.stopped" for event, _ in one.told))
        one.box.stop()
    assert one.events("box.hurried") == [{}]


def test_when_box_is_killed_its_children_do_not_outlive_it(tmp_path, models, film, broker) -> None:
    (tmp_path / "site.toml").write_text(site_of(str(film), loop=True), encoding="utf-8")
    places = ("--site", str(tmp_path / "site.toml"), "--state", str(tmp_path / "state"), "--models", str(models))
    command = program_command("veilleur-agent", "run", *places, "--model", "sprite", "--broker", broker.url)
    with Child("agent", [*command, "--policy", "bench"], tmp_path / "agent.log") as agent:
        wait_until(lambda: b"eye.started" in (tmp_path / "agent.log").read_bytes(), WITHIN_S, "an eye")
        children = list(descendants_of(agent.pid))
        assert {part for part in ("eye", "mouth") if any(part in command_of(pid) for pid in children)} == {
            "eye",
            "mouth",
        }
        os.kill(agent.pid, signal.SIGKILL)
        wait_until(lambda: not any(command_of(pid) for pid in children), WITHIN_S, "the end of the children")
