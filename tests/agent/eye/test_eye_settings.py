import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from box_builders import HandClock
from model_builders import built_sprite
from veilleur_agent.control import RefusedReason
from veilleur_agent.eye.address import CameraUnreachableError, address_of
from veilleur_agent.eye.cameras import ASK_AGAIN_S, Doorway, address_at
from veilleur_agent.eye.checkpoint import (
    Checkpoint,
    SavedCamera,
    read_checkpoint,
    write_checkpoint,
)
from veilleur_agent.eye.errors import CheckpointRejectedError, EyeRefusedError
from veilleur_agent.eye.settings import settings_of
from veilleur_agent.eye.timesource import is_synced
from veilleur_agent.starts import EyeStart, Reach
from veilleur_contracts.messages import CameraState
from veilleur_contracts.site import Camera


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_sprite(tmp_path_factory.mktemp("models")).folder


class Given:
    """What box hands the eye; each test spoils one thing."""

    def __init__(self, folder: Path, models: Path) -> None:
        self.folder = folder
        self.models = models
        self.site = folder / "site.toml"
        self.clip = folder / "clip.mp4"
        self.clip.write_bytes(b"a clip")
        self.profile = "strictest"
        self.secrets: Path | None = None
        self.camera = 'source = "rtsp://10.0.0.7/main"'
        self.window = ""
        self.model = "sprite"

    def start(self) -> EyeStart:
        self.site.write_text(
            f'[site]\nbox = "box-1"\ncontroller = "ville"\n{self.window}\n'
            f'[[camera]]\nid = "gare"\ninsee = "30189"\n{self.camera}\n',
            encoding="utf-8",
        )
        return EyeStart(
            site=str(self.site),
            site_sha256=hashlib.sha256(self.site.read_bytes()).hexdigest(),
            state=str(self.folder),
            models=str(self.models),
            model=self.model,
            secrets=None if self.secrets is None else str(self.secrets),
            profile=self.profile,
            bench_token=None,
            trusts_clock=False,
            reach=Reach((), (), (), (), allow_unconfined=True),
        )

    def with_secrets(self, text: str, mode: int = 0o600) -> None:
        self.secrets = self.folder / "secrets.toml"
        self.secrets.write_text(text, encoding="utf-8")
        self.secrets.chmod(mode)
        self.camera += '\nuser = "veilleur"\nsecret = "gare"'


@pytest.fixture
def given_(tmp_path: Path, models: Path) -> Given:
    return Given(tmp_path, models)


def test_the_eye_takes_the_passwords_of_its_cameras_and_no_others(given_: Given) -> None:
    given_.with_secrets('gare = "geheim"\nother = "not asked for"')
    settings = settings_of(given_.start())
    assert dict(settings.passwords) == {"gare": "geheim"}
    assert "geheim" not in repr(settings)
    assert settings.window_s(settings.site.camera[0]) == 1200
    assert not settings.trusts_clock


def refuses(start: EyeStart, reason: RefusedReason, subject: str | None = None) -> None:
    with pytest.raises(EyeRefusedError) as refusal:
        settings_of(start)
    assert (refusal.value.reason, refusal.value.subject) == (reason, subject)
    assert "geheim" not in str(refusal.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_secrets_that_others_may_read_are_refused_by_the_eye_itself(given_: Given, mode: int) -> None:
    given_.with_secrets('gare = "geheim"', mode)
    refuses(given_.start(), RefusedReason.SECRETS)


@pytest.mark.parametrize("text", ["", 'other = "geheim"', "gare = 5", "gare = ", "\x00"])
def test_secrets_without_the_password_are_refused(given_: Given, text: str) -> None:
    given_.with_secrets(text)
    with pytest.raises(EyeRefusedError) as refusal:
        settings_of(given_.start())
    assert refusal.value.reason is RefusedReason.SECRETS


def test_secrets_behind_a_link_are_refused(given_: Given) -> None:
    given_.with_secrets('gare = "geheim"')
    assert given_.secrets is not None
    link = given_.folder / "link.toml"
    link.symlink_to(given_.secrets)
    given_.secrets = link
    refuses(given_.start(), RefusedReason.SECRETS)


def test_a_site_that_is_not_the_one_box_checked_is_refused(given_: Given) -> None:
    start = given_.start()
    given_.site.write_text(given_.site.read_text() + "\n# one byte more", encoding="utf-8")
    refuses(start, RefusedReason.SITE)
    given_.site.unlink()
    refuses(start, RefusedReason.SITE)


def test_the_eye_itself_refuses_a_street_under_the_bench_policy(given_: Given) -> None:
    given_.profile = "bench"
    refuses(given_.start(), RefusedReason.BENCH, "gare")
    given_.camera = f'source = "{given_.clip}"'
    assert settings_of(given_.start()).trusts_clock


def test_the_eye_itself_refuses_windows_that_are_too_short(given_: Given) -> None:
    given_.window = "window_s = 60"
    refuses(given_.start(), RefusedReason.WINDOW, "gare")


def test_a_model_that_does_not_hold_is_refused(given_: Given) -> None:
    given_.model = "nanodet-g-640x384"
    refuses(given_.start(), RefusedReason.MODEL)


@pytest.mark.parametrize(
    ("source", "ip", "url"),
    [
        ("rtsp://cam.ville.example/main?x=y", "10.0.0.7", "rtsp://10.0.0.7/main?x=y"),
        ("rtsp://cam.ville.example:8554/main", "10.0.0.7", "rtsp://10.0.0.7:8554/main"),
        ("http://cam.ville.example/mjpg", "fd00::7", "http://[fd00::7]/mjpg"),
        ("rtsp://[fd00::8]:554/main", "fd00::7", "rtsp://[fd00::7]:554/main"),
    ],
)
def test_a_camera_is_reached_at_the_address_it_was_looked_up_to(source: str, ip: str, url: str) -> None:
    address = address_at(address_of(source, name="camera gare", user="u"), ip)
    assert address.text == url
    assert (address.name, address.user) == ("camera gare", "u")


def test_a_camera_whose_name_leads_nowhere_is_unreachable_and_asked_for_again() -> None:
    clock = HandClock()
    doorway = Doorway(Camera(id="gare", insee="30189", source="rtsp://cam.ville.example/main"), None, clock)
    with pytest.raises(CameraUnreachableError, match="camera gare has no address"):
        doorway.open(doorway.address)
    assert not doorway.should_ask(CameraState.BACKOFF)
    clock.advance(ASK_AGAIN_S + 1)
    assert not doorway.should_ask(CameraState.LIVE)
    assert doorway.should_ask(CameraState.BACKOFF)
    assert not doorway.should_ask(CameraState.BACKOFF)


def test_a_file_is_never_asked_for(tmp_path: Path) -> None:
    clock = HandClock()
    doorway = Doorway(Camera(id="gare", insee="30189", source=str(tmp_path / "x.mp4")), None, clock)
    clock.advance(1000)
    assert not doorway.should_ask(CameraState.BACKOFF)


A_CHECKPOINT = Checkpoint(b"what is held", {"gare": SavedCamera(b"windows", b"release", None)})


def test_a_checkpoint_comes_back_as_it_was_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "eye.checkpoint"
    assert read_checkpoint(path) is None
    write_checkpoint(path, A_CHECKPOINT)
    assert read_checkpoint(path) == A_CHECKPOINT
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["eye.checkpoint"]


@given(place=st.integers(0, 200), flip=st.integers(1, 255))
def test_a_checkpoint_with_one_wrong_byte_is_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, flip: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "one.checkpoint"
    write_checkpoint(path, A_CHECKPOINT)
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= flip
    path.write_bytes(data)
    with pytest.raises(CheckpointRejectedError):
        read_checkpoint(path)


def test_a_disk_that_refuses_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "eye.checkpoint"
    with pytest.raises(OSError, match="No such file"):
        write_checkpoint(path, A_CHECKPOINT)
    if os.geteuid() != 0:
        path.parent.mkdir()
        write_checkpoint(path, A_CHECKPOINT)
        path.parent.chmod(0o500)
        with pytest.raises(OSError, match="Permission"):
            write_checkpoint(path, A_CHECKPOINT)
        assert read_checkpoint(path) == A_CHECKPOINT


def test_the_kernel_is_asked_whether_the_clock_is_set() -> None:
    assert isinstance(is_synced(), bool)
