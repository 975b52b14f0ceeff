"""The agent as people start it: eye and mouth are confined before they work, or nothing starts."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from confine_builders import built_sprite_model, needs_kernel
from eye_builders import a_clip, a_walk
from veilleur_simulator.broker import broker_in
from veilleur_simulator.processes import wait_until

pytestmark = [needs_kernel, pytest.mark.journey]
HIDE = Path(__file__).parents[2] / "confine_hidden.py"
AGENT = ["-c", "from veilleur_agent.cli import main; main()", "run"]
WITHIN_S = 60.0
SITE = """
[site]
box = "box-1"
controller = "ville"
window_s = 5

[[camera]]
id = "gare"
insee = "30189"
source = "{clip}"
fps = 5
loop = true

[[camera.line]]
id = "kerb"
from = [0.5, 0.1]
to = [0.5, 0.9]
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return built_sprite_model(tmp_path_factory.mktemp("models")).parent


def command_of(folder: Path, models: Path, broker: str, *options: str, hidden: str | None = None) -> list[str]:
    site = folder / "site.toml"
    site.write_text(SITE.format(clip=a_clip(folder / "walk.mp4", a_walk(20))), encoding="utf-8")
    before = [] if hidden is None else [sys.executable, "-P", str(HIDE), hidden, "--"]
    given = ["--site", str(site), "--state", str(folder / "state"), "--models", str(models), "--model", "sprite"]
    return [*before, sys.executable, "-P", *AGENT, *given, "--broker", broker, "--policy", "bench", *options]


@contextmanager
def agent_running(command: list[str], log: Path) -> Iterator[subprocess.Popen]:
    with log.open("wb") as file:
        agent = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={"PATH": "/usr/bin:/bin", "VEILLEUR_DRAIN_S": "0"},  # there is no fleet here to wait for
            start_new_session=True,
        )
    try:
        yield agent
    finally:
        agent.send_signal(signal.SIGTERM)
        try:
            agent.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            agent.kill()
            agent.wait()


def events_in(log: Path, event: str) -> dict[str, dict]:
    """The events of that name, by child."""
    lines = log.read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return {one["child"]: one for one in found if one["event"] == event}


def test_both_children_are_confined_before_they_are_ready(models, tmp_path) -> None:
    log = tmp_path / "log"
    with broker_in(tmp_path / "broker") as broker:
        with agent_running(command_of(tmp_path, models, broker.url), log) as agent:
            wait_until(lambda: len(events_in(log, "child.ready")) == 2, WITHIN_S, "eye and mouth")
            wait_until(lambda: "mouth" in events_in(log, "uplink.connected"), WITHIN_S, "the broker")
            for child, started in events_in(log, "child.started").items():
                status = Path(f"/proc/{started['pid']}/status").read_text(encoding="ascii")
                assert "NoNewPrivs:\t1" in status, child
                assert "Seccomp:\t2" in status, child
                assert "CapEff:\t0000000000000000" in status, child
        assert agent.returncode == 0, log.read_text(encoding="utf-8")
    confined = events_in(log, "child.confined")
    assert {child: one["breaches"] for child, one in confined.items()} == {"eye": 0, "mouth": 0}
    assert all(one["trials"] >= 46 and one["landlock"] >= 4 and one["filter"] > 0 for one in confined.values())


@pytest.mark.parametrize(
    ("hidden", "lacks"),
    [
        pytest.param("landlock_create_ruleset", "landlock, landlock_ports", id="no-landlock"),
        pytest.param("seccomp", "seccomp", id="no-seccomp"),
    ],
)
def test_where_the_kernel_cannot_confine_nothing_starts(models, tmp_path, hidden, lacks) -> None:
    command = command_of(tmp_path, models, "mqtt://127.0.0.1:9", hidden=hidden)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WITHIN_S)
    assert done.returncode == 2, done.stderr
    sentence = done.stderr.strip().splitlines()[-1]
    assert f"is not confined, the kernel lacks {lacks}: run Linux 6.7 or later" in sentence
    assert "child.ready" not in done.stderr


def test_who_accepts_it_runs_unconfined_and_reads_what_is_open(models, tmp_path) -> None:
    log = tmp_path / "log"
    with broker_in(tmp_path / "broker") as broker:
        command = command_of(tmp_path, models, broker.url, "--allow-unconfined", hidden="landlock_create_ruleset")
        with agent_running(command, log) as agent:
            wait_until(lambda: len(events_in(log, "child.ready")) == 2, WITHIN_S, "eye and mouth")
        assert agent.returncode == 0, log.read_text(encoding="utf-8")
    assert events_in(log, "child.confined")["eye"]["breaches"] > 0
    assert set(events_in(log, "confinement.breach_found")) == {"eye", "mouth"}
