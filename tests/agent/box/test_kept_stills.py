"""A real box keeps stills where a signed policy allows, gives them out to nobody unaudited, and lets them go."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner, Result

from city_hall import CityHall
from clip_builders import JPEG, a_reckoning, built_white_faces
from confine_builders import needs_kernel
from journeys.town import film_of, scenario_of, site_of
from model_builders import built_sprite
from veilleur_agent.cli import app
from veilleur_agent.clip_facts import measure
from veilleur_agent.clip_store import ClipStore
from veilleur_agent.confine.trials import Outcome
from veilleur_agent.errors import StartRefusedError
from veilleur_agent.freezes import freezes_of
from veilleur_agent.preflight import plan_of
from veilleur_agent.settings import settings_of
from veilleur_contracts.audit import ClipsDestroyed, ClipsExported, ClipsFrozen, ClipsReleased
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.messages import ClipsHeld, Label
from veilleur_models.sprite import PALETTE
from veilleur_simulator.broker import Broker, broker_in
from watched_box import Watched, box_in

pytestmark = [pytest.mark.journey, pytest.mark.timeout(240)]
IMAGES = (
    ("# [default.images]", "[default.images]"),
    ("# days = ", "days = "),
    ("# prefect_days", "prefect_days"),
    ('# reference = "Arrêté préfectoral', 'reference = "Arrêté préfectoral'),
)
KEEP = "keep = { still_s = 10 }\n"
JPEG_HEAD = b"\xff\xd8\xff\xe0\x00\x10JFIF"
OTHERS_STORE = 39
EYES = {"child": "eye", "camera": "avenue"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = built_sprite(tmp_path_factory.mktemp("models")).folder
    built_white_faces(folder)
    return folder


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    busy = scenario_of("street-busy")
    return film_of(replace(busy, street=replace(busy.street, seconds=15)), tmp_path_factory.mktemp("film"))


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> CityHall:
    return CityHall(tmp_path_factory.mktemp("hall"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with broker_in(tmp_path / "broker") as one:
        yield one


@pytest.fixture
def running(tmp_path, models, film, broker, hall):
    @asynccontextmanager
    async def run(policy: Path, *, keep: str = KEEP, root: Path | None = hall.root) -> AsyncIterator[Watched]:
        site = site_of(str(film), loop=True, extra=keep)
        async with box_in(tmp_path, site, models, broker, policy=policy, root=root) as one:
            yield one

    return run


async def command(one: Watched, *words: object) -> Result:
    given = ["clips", *map(str, words), "--state", str(one.plan.state)]
    return await asyncio.to_thread(CliRunner().invoke, app, given, env={"COLUMNS": "200"})


def stills_in(one: Watched) -> int:
    store = ClipStore(one.plan.clips)
    return sum(len(store.times(lain.camera, lain.day)) for lain in store.lain())


def pictures_in(folder: Path) -> list[Path]:
    """Files that a file browser would show a picture of, or that hold one."""
    found = []
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        if JPEG_HEAD in data or (data and cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None):
            found.append(path)
    return found


async def test_stills_are_kept_taken_out_frozen_and_let_go_as_policy_and_persons_say(running, hall, tmp_path) -> None:
    who = ("--who", "A. Roux", "--role", "opj", "--why", "réquisition 26/114")
    async with running(hall.policy(1, changes=IMAGES)) as one:
        await one.until(lambda: stills_in(one) >= 1)
        assert one.events("camera.keeping_changed") == [{**EYES, "keeps": True, "why": "none"}]
        assert pictures_in(one.plan.state) == []
        await one.until(lambda: [held.faults for held in one.records(ClipsHeld)] == [0])
        (lain,) = ClipStore(one.plan.clips).lain()
        assert "avenue" in (await command(one, "list")).output
        taken = await command(one, "export", "avenue", lain.day, "--to", tmp_path / "out", *who)
        assert taken.exit_code == 0, taken.output
        before = stills_in(one)
        one.box._clerk._tighten(True)  # noqa: FBT003 - as the clerk itself calls it when the audit cannot be written
        await one.until(lambda: one.events("camera.keeping_changed")[-1]["keeps"] is False)
        one.box._clerk._tighten(False)  # noqa: FBT003 - as the clerk itself calls it when the audit cannot be written
        await one.until(lambda: one.events("camera.keeping_changed")[-1]["keeps"] is True)
        assert stills_in(one) >= before, "what nobody could write down is not destroyed either"
        last = lain.day + timedelta(30)
        order = ("--until", last, "--reference", "PR 26/1234", "--person", "A. Roux", "--person", "B. Blanc")
        frozen = await command(one, "freeze", "avenue", lain.day, *order)
        assert frozen.exit_code == 0, frozen.output
        await one.until_dealt_with(one.offer(hall.policy(2)))
        await one.until(
            lambda: one.events("camera.keeping_changed")[3:] == [{**EYES, "keeps": False, "why": "not-allowed"}]
        )
        assert len(ClipStore(one.plan.clips).lain()) == 1, "no image is allowed any more, and this day is frozen"
        facts = measure(one.plan.clips, freezes_of(one.plan.state), SystemClock().now_ms())
        assert facts.frozen == {("avenue", lain.day): last}
        assert (await command(one, "release", "avenue", lain.day, *who)).exit_code == 0
        await one.until(lambda: list((one.plan.clips / "days").iterdir()) == [])
        assert list((one.plan.clips / "keys").iterdir()) == []
    assert one.audit(ClipsExported, ClipsFrozen, ClipsReleased, ClipsDestroyed) == [
        ClipsExported("avenue", lain.day, "A. Roux", "opj", "réquisition 26/114"),
        ClipsFrozen("avenue", lain.day, last, "PR 26/1234", ("A. Roux", "B. Blanc")),
        ClipsReleased("avenue", lain.day, "A. Roux", "opj", "réquisition 26/114"),
        ClipsDestroyed("avenue", lain.day),
    ]
    shown = pictures_in(tmp_path / "out")
    assert shown, "the control: what was taken out is a picture"
    for path in shown:
        picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR).astype(int)
        assert picture.std() > 5
        for label in Label:
            assert (np.abs(picture - PALETTE[label]).max(axis=2) < 40).mean() < 0.0005, "nobody is in it"


async def test_a_box_that_starts_strict_lets_go_what_was_kept_before(running, tmp_path) -> None:
    now_ms = SystemClock().now_ms()
    store = ClipStore(tmp_path / "state" / "clips")
    store.prepare()
    day = store.add("avenue", now_ms, JPEG, a_reckoning(now_ms))
    async with running(Path("strictest"), keep="", root=None) as again:
        await again.until(lambda: list((again.plan.clips / "days").iterdir()) == [])
    assert again.events("clips.destroyed") == [{**EYES, "why": "not-allowed"}]
    assert again.audit(ClipsDestroyed) == [ClipsDestroyed("avenue", day)]


@needs_kernel
async def test_under_a_policy_without_images_nothing_is_kept_and_the_mouth_never_reaches_the_clips(
    running, hall
) -> None:
    async with running(hall.policy(1)) as one:
        await one.until(lambda: one.box.eye.was_ready and one.box.mouth.was_ready)
        await one.until(lambda: bool(one.events("camera.keeping_changed")))
        outcomes = {trial.number: trial.outcome for trial in one.box.confinement["mouth"].trials}
        assert str(one.plan.clips) in one.plan.mouth_reach().others
    assert outcomes[OTHERS_STORE] is Outcome.REFUSED
    assert one.events("camera.keeping_changed") == [{**EYES, "keeps": False, "why": "not-allowed"}]
    assert stills_in(one) == 0


def test_check_says_whether_a_policy_allows_the_stills_of_a_site(tmp_path, models, film, hall) -> None:
    (tmp_path / "site.toml").write_text(site_of(str(film), extra=KEEP), encoding="utf-8")
    words = ["check", "--site", str(tmp_path / "site.toml"), "--policy"]
    environment = {"VEILLEUR_MODELS": str(models), "VEILLEUR_STATE": str(tmp_path / "state")}
    allowing, refusing = hall.policy(1, changes=IMAGES), hall.policy(1)
    assert CliRunner().invoke(app, [*words, str(allowing)], env=environment).exit_code == 0
    done = CliRunner().invoke(app, [*words, str(refusing)], env=environment)
    assert isinstance(done.exception, StartRefusedError)
    assert "camera avenue" in str(done.exception)
    assert f"{refusing} allows no image of it now" in str(done.exception)


@pytest.mark.parametrize(
    ("policy", "faces", "sentence"),
    [
        pytest.param("bench", True, "the bench policy keeps no image", id="bench"),
        pytest.param("strictest", True, "the strictest policy keeps no image", id="strictest"),
        pytest.param(
            None, False, "veilleur-models build centerface', or say where the models are", id="no-model-of-faces"
        ),
    ],
)
def test_stills_that_could_never_be_kept_are_refused_with_one_sentence(
    tmp_path, models, film, hall, *, policy, faces, sentence
) -> None:
    (tmp_path / "site.toml").write_text(site_of(str(film), extra=KEEP), encoding="utf-8")
    folder = models if faces else built_sprite(tmp_path / "models").folder
    settings = settings_of(
        state=tmp_path / "state",
        models=folder,
        model="sprite",
        policy=policy or str(hall.policy(1, changes=IMAGES)),
        root=None if policy else hall.root,
    )
    with pytest.raises(StartRefusedError, match=sentence) as refusal:
        plan_of(tmp_path / "site.toml", settings)
    assert "camera avenue" in str(refusal.value)
    assert "\n" not in str(refusal.value)
