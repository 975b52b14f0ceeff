"""A real box under policies signed with the fleet's own commands: what holds, what is refused, what the audit says."""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from city_hall import CityHall
from journeys.town import film_of, scenario_of, site_of
from model_builders import built_sprite
from veilleur_agent.audit import AuditLog
from veilleur_agent.cli import app
from veilleur_agent.errors import StartRefusedError
from veilleur_agent.plan import Plan
from veilleur_agent.preflight import plan_of
from veilleur_agent.settings import settings_of
from veilleur_contracts.audit import (
    BoxStarted,
    BoxStopped,
    DocumentRefused,
    PolicyTaken,
    StopTaken,
    StrictFrom,
    StrictUntil,
    origin_of,
)
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.envelope import read_envelope
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.messages import CameraHealth, CameraState, Context, CrossingWindow, Quality
from veilleur_simulator.broker import Broker, broker_in
from watched_box import Watched, box_in

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_sprite(tmp_path_factory.mktemp("models")).folder


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_of(scenario_of("street-busy"), tmp_path_factory.mktemp("film"))


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> CityHall:
    return CityHall(tmp_path_factory.mktemp("hall"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with broker_in(tmp_path / "broker") as one:
        yield one


@pytest.fixture
def running(tmp_path, models, film, broker, hall):
    def run(policy: Path | None, root: Path | None = hall.root) -> AbstractAsyncContextManager[Watched]:
        return box_in(tmp_path, site_of(str(film), loop=True), models, broker, policy=policy, root=root)

    return run


def hash_of(policy: Path) -> str:
    return hashlib.sha256(read_envelope(policy.read_bytes()).content()).hexdigest()


async def frames_come(one: Watched) -> None:
    before = len(one.records(CameraHealth))
    await one.until(lambda: any(health.state == 1 for health in one.records(CameraHealth)[before:]) or before > 0)


async def test_a_signed_policy_holds_as_signed_and_a_newer_one_splits_the_window(running, hall) -> None:
    first, second = hall.policy(1), hall.policy(2, changes=[("person_cell_min = 5", "person_cell_min = 9")])
    async with running(first) as one:
        await frames_come(one)
        assert one.states()[-1:] == [("signed", "none", True)]
        await one.until(lambda: any(health.fps_x10 > 0 or health.state == 1 for health in one.records(CameraHealth)))
        await one.until_dealt_with(one.offer(second))
        await one.until(lambda: len(one.records(Context)) >= 2)
    assert [record.policy for record in one.records(Context)][:2] == [hash_of(first)[:16], hash_of(second)[:16]]
    windows = one.records(CrossingWindow)
    assert {window.window_s for window in windows} == {1200}, (
        "the shortest that may hold persons, not what a test likes"
    )
    assert all(window.quality & Quality.SPLIT for window in windows), "none lasted its twenty minutes"
    assert all(count is None or count == 0 or count >= 5 for window in windows for count in window.counts[:4])
    taken = one.audit(PolicyTaken)
    assert [(entry.version, entry.sha256, entry.loosens) for entry in taken] == [
        (1, hash_of(first), True),
        (2, hash_of(second), False),
    ]
    assert taken[0].signers == ("controller", "dpo-ville", "operator")
    assert isinstance(one.audit(BoxStarted, BoxStopped)[-1], BoxStopped)
    assert one.audit(DocumentRefused) == []


async def test_what_may_not_be_taken_is_refused_and_written_down_and_the_last_good_one_stays(running, hall) -> None:
    good = hall.policy(5)
    forged = bytearray(hall.policy(6).read_bytes())
    place = forged.index(b'"sig":"') + 10
    forged[place] = ord("A") if forged[place] != ord("A") else ord("B")
    refused = {
        "older": hall.policy(4).read_bytes(),
        "expired": hall.policy(7, days=(-90, -1)).read_bytes(),
        "forged": bytes(forged),
        "under-signed": hall.policy(
            8, signers=("operator",), changes=[("person_cell_min = 5", "person_cell_min = 3")]
        ).read_bytes(),
        "truncated-document": good.read_bytes()[:-20],
    }
    async with running(good) as one:
        await frames_come(one)
        for document in refused.values():
            await one.until_dealt_with(one.offer(document))
        states = one.states()
    assert [(entry.reason, entry.sha256) for entry in one.audit(DocumentRefused)] == [
        (reason, hashlib.sha256(document).hexdigest()) for reason, document in refused.items()
    ]
    assert [event["reason"] for event in one.events("document.refused")] == list(refused)
    assert states[-1] == ("signed", "none", True)
    assert [entry.version for entry in one.audit(PolicyTaken)] == [5]


async def test_a_box_whose_first_policy_is_no_good_starts_strict_and_says_why(running, hall) -> None:
    async with running(hall.policy(1, days=(-90, -1))) as one:
        await frames_come(one)
        await one.until_dealt_with(one.offer(hall.policy(2)))
        await one.until(lambda: one.states()[-1:] == [("signed", "none", True)])
    assert one.states()[0] == ("strictest", "no-policy", True), "it films nobody: the source is a file"
    assert [entry.reason for entry in one.audit(DocumentRefused)] == ["expired"]
    assert one.audit(StrictFrom, StrictUntil) == [StrictFrom("no-policy"), StrictUntil()]


async def test_a_dpo_stops_a_box_within_a_minute_and_no_restart_starts_it_again(running, hall) -> None:
    policy = hall.policy(1)
    clock = SystemClock()
    async with running(policy) as one:
        await frames_come(one)
        offered_s = clock.elapsed_s()
        sha256 = one.offer(hall.stop())
        await one.until(lambda: one.states()[-1:] == [("stopped", "stopped", False)])
        assert clock.elapsed_s() - offered_s < 60
        await one.until_dealt_with(sha256)
        await one.until(lambda: one.records(CameraHealth)[-1].state == CameraState.STOPPED)
    assert one.records(CrossingWindow) == [], "a stop says nothing of what was counted before it either"
    assert one.events("windows.withheld") != []
    stopped = one.audit(StopTaken)
    assert [entry.role for entry in stopped] == ["dpo-ville"]
    async with running(policy) as again:
        await again.until(lambda: bool(again.records(CameraHealth)))
    assert again.states() == [("stopped", "stopped", False)]
    assert {health.state for health in again.records(CameraHealth)} == {CameraState.STOPPED}
    assert again.records(CrossingWindow) == again.records(Context) == []
    assert again.audit(DocumentRefused) == [], "the policy it is given at each start is no news"
    lifted = hall.policy(2, changes=[("[scope] ", f'lifts = ["{stopped[0].sha256}"]\n[scope] ')])
    async with running(lifted, root=None) as free:
        await free.until(lambda: free.states()[-1:] == [("signed", "none", True)])
        await frames_come(free)


def test_a_person_on_the_spot_offers_a_stop_and_reads_the_audit(tmp_path, models, film, hall) -> None:
    (tmp_path / "site.toml").write_text(site_of(str(film)), encoding="utf-8")
    plan = plan_with(tmp_path, models, root=hall.root)
    stop = hall.stop()
    state = ("--state", str(plan.state))
    offered = CliRunner().invoke(app, ["offer", str(stop), *state])
    assert offered.exit_code == 0, offered.output
    assert offered.output.startswith("stop ")
    assert [path.read_bytes() for path in plan.offers.iterdir()] == [stop.read_bytes()]
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    log = AuditLog.open(plan.audit, origin_of("ville", "box-1"), key, SystemClock())
    log.append(StopTaken("ab" * 32, "dpo-ville"))
    log.checkpoint()
    log.close()
    shown = CliRunner().invoke(app, ["audit", *state], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "stop-taken" in shown.output
    assert "1 entries, signed up to 1, whole" in shown.output


@pytest.mark.parametrize("words", [["offer", "site.toml"], ["offer", "missing.json"], ["audit"]], ids=" ".join)
def test_what_cannot_be_offered_or_read_is_refused(papers, words) -> None:
    done = CliRunner().invoke(app, [*words, "--state", str(papers / "nowhere")])
    assert isinstance(done.exception, RejectedError)
    assert "\n" not in str(done.exception)


async def test_while_the_audit_cannot_be_written_everything_is_strict(running, hall) -> None:
    async with running(hall.policy(1)) as one:
        await frames_come(one)
        one.box._clerk._tighten(True)  # noqa: FBT003 - as the clerk itself calls it
        await one.until(lambda: one.states()[-1:] == [("strictest", "audit-unwritable", True)])
        one.box._clerk._tighten(False)  # noqa: FBT003 - as the clerk itself calls it
        await one.until(lambda: one.states()[-1:] == [("signed", "none", True)])
    assert one.audit(StrictFrom, StrictUntil) == [StrictFrom("audit-unwritable"), StrictUntil()]


def plan_with(tmp_path, models, **given) -> Plan:
    settings = settings_of(state=tmp_path / "state", models=models, model="sprite", **given)
    return plan_of(tmp_path / "site.toml", settings)


def test_a_street_in_which_nobody_decided_what_to_mask_does_not_run(tmp_path, models) -> None:
    (tmp_path / "site.toml").write_text(site_of("rtsp://10.0.0.7/main"), encoding="utf-8")
    with pytest.raises(StartRefusedError, match="camera avenue: nobody has decided what to mask"):
        plan_with(tmp_path, models)


@pytest.fixture
def papers(tmp_path, film, hall, monkeypatch) -> Path:
    """The folder one works in, with a policy, a root and a site in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.json").write_bytes(hall.policy(1).read_bytes())
    (tmp_path / "root.json").write_bytes(hall.root.read_bytes())
    (tmp_path / "site.toml").write_text(site_of(str(film)), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("policy", "root", "sentence"),
    [
        pytest.param("policy.json", None, "give the one this box is enrolled with", id="no-root"),
        pytest.param("missing.json", "root.json", "the policy missing.json cannot be read", id="no-such-policy"),
        pytest.param("policy.json", "policy.json", "where a root is expected", id="a-policy-for-a-root"),
        pytest.param("policy.json", "missing.json", "the root missing.json cannot be read", id="no-such-root"),
    ],
)
def test_a_root_or_policy_that_is_not_there_is_refused_with_one_sentence(
    papers, models, policy, root, sentence
) -> None:
    with pytest.raises(RejectedError, match=sentence) as refusal:
        plan_with(papers, models, policy=policy, root=None if root is None else Path(root))
    assert "\n" not in str(refusal.value)


def test_a_box_keeps_the_root_it_was_enrolled_with(tmp_path, models, film, hall, tmp_path_factory) -> None:
    (tmp_path / "site.toml").write_text(site_of(str(film)), encoding="utf-8")
    assert plan_with(tmp_path, models, root=hall.root).profile == "signed"
    assert plan_with(tmp_path, models).profile == "signed", "once enrolled, it stays under signed policies"
    other = CityHall(tmp_path_factory.mktemp("other"))
    with pytest.raises(StartRefusedError, match="enrolled with another root"):
        plan_with(tmp_path, models, root=other.root)
