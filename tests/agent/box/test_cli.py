"""The commands as a person runs them: one sentence for what is wrong, an exit code, and never a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from journeys.town import film_of, scenario_of, site_of
from model_builders import built_sprite

pytestmark = pytest.mark.journey

PROGRAM = (sys.executable, "-c", "from veilleur_agent.cli import main; main()")
LINE = "middle:0.5,1.0:0.5,0.02"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_sprite(tmp_path_factory.mktemp("models")).folder


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_of(scenario_of("street-cyclist"), tmp_path_factory.mktemp("film"))


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # noqa: TID251 - handed on whole
    return subprocess.run(
        [*PROGRAM, *arguments], env={**kept, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def test_it_says_its_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("veilleur-agent 0.")


@pytest.mark.parametrize("command", ["run", "count", "check"])
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    done = run(command, "--help", TERM="dumb", COLUMNS="200")
    assert done.returncode == 0
    assert "Example" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        pytest.param(("run", "--site", "/nowhere.toml"), 2, "cannot read site /nowhere.toml", id="no-site"),
        pytest.param(("check", "--site", "/nowhere.toml"), 2, "cannot read site", id="no-site-to-check"),
        pytest.param(("count", "/nowhere.avi", "--line", LINE), 1, "/nowhere.avi is not there", id="no-film"),
        pytest.param(("count", "x", "--line", "kerb:0.1,0.6:0.1,0.6"), 2, "has no length", id="a-line-of-no-length"),
        pytest.param(("count", "x", "--line", "kerb:0.1,0.6:1.4,0.6"), 2, "leaves the frame", id="a-line-outside"),
        pytest.param(("count", "x", "--line", "nonsense"), 2, "is not written like", id="no-line-at-all"),
        pytest.param(("run",), 2, "--site", id="nothing-given"),
        pytest.param(("dance",), 2, "dance", id="no-such-command"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_a_code(models, arguments, code, sentence) -> None:
    options = ("--models", str(models), "--model", "sprite") if arguments[0] == "count" else ()
    done = run(*arguments, *options)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_password_in_a_source_or_a_broker_is_never_shown(models: Path, film: Path, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(site_of(str(film)), encoding="utf-8")
    options = ("--models", str(models), "--model", "sprite")
    tried = [
        run("count", "rtsp://admin:geheim@127.0.0.1:1/main", "--line", LINE, *options),
        run("run", "--site", str(tmp_path / "site.toml"), *options, VEILLEUR_BROKER="mqtt://u:geheim@[::1"),
        run("run", "--site", str(tmp_path / "site.toml"), *options, "--broker", "ftp://u:geheim@h"),
    ]
    for done in tried:
        assert done.returncode != 0
        assert len(done.stderr.strip().splitlines()) == 1
        assert "geheim" not in done.stderr + done.stdout


def test_json_is_one_object_and_nothing_else(models: Path, film: Path) -> None:
    done = run(
        "count", str(film), "--line", LINE, "--fps", "10", "--json", "--models", str(models), "--model", "sprite"
    )
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert set(report) == {"source", "frames", "seconds", "lines"}
    crossings = report["lines"]["middle"]["bicycle"]
    assert sorted(crossings) == ["left_to_right", "right_to_left"]
    assert sum(crossings.values()) == 1
    assert done.stdout.count("\n") == 1


def test_a_table_is_printed_for_people(models: Path, film: Path) -> None:
    done = run("count", str(film), "--line", LINE, "--fps", "10", "--models", str(models), "--model", "sprite")
    assert done.returncode == 0
    assert "left to right" in done.stdout
    assert "bicycle" in done.stdout


def test_a_good_site_is_said_to_be_good_with_what_could_leak(film: Path, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(site_of(str(film)), encoding="utf-8")
    done = run("check", "--site", str(tmp_path / "site.toml"), "--policy", "bench", COLUMNS="200")
    assert done.returncode == 0
    assert "box-1 is good" in done.stdout
    assert "bytes a day" in done.stdout


def test_the_process_of_box_loads_nothing_that_could_open_a_picture() -> None:
    script = (
        "import sys; from veilleur_agent.preflight import plan_of; from veilleur_agent.settings import settings_of;"
        "import veilleur_agent.cli, veilleur_agent.box;"
        "print(sorted(set(sys.modules) & {'numpy', 'cv2', 'av', 'openvino', 'aiomqtt', 'paho'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
