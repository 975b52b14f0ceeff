"""A confined eye does its work: real libraries, a real model, a real clip, and the same answer as an unconfined one."""

import errno
import socket
from pathlib import Path

import pytest

from confine_builders import built_sprite_model, needs_kernel, run_child
from eye_builders import a_clip, a_walk
from veilleur_models.settings import read_settings
from veilleur_simulator.processes import free_port

pytestmark = needs_kernel
FOOTAGE = Path(__file__).parents[4] / "shared" / "footage" / "person-bicycle-car-detection.mp4"


@pytest.fixture(scope="module")
def sprite_model(tmp_path_factory) -> Path:
    return built_sprite_model(tmp_path_factory.mktemp("models"))


def counted(model: Path, clip: Path, own: Path, *, frames: int, confined: bool) -> list:
    return run_child(
        "eye",
        ["count"],
        own=[own],
        read_only=[model, clip],
        confined=confined,
        model=str(model),
        clip=str(clip),
        fps=5,
        frames=frames,
    )["count"]


def test_it_decodes_and_detects_as_if_it_were_free(sprite_model, tmp_path) -> None:
    clip = a_clip(tmp_path / "walk.mp4", a_walk(20))
    confined = counted(sprite_model, clip, tmp_path, frames=8, confined=True)
    assert len(confined) == 8
    assert [labels for _, labels, _ in confined] == [[0]] * 8
    assert confined == counted(sprite_model, clip, tmp_path, frames=8, confined=False)


def test_it_runs_a_quantised_network_on_footage(tmp_path) -> None:
    model = read_settings().cache / "nanodet-g-640x384"
    if not (model / "model.bin").exists():
        pytest.skip("nanodet-g-640x384 is not built: run 'veilleur-models build' or set VEILLEUR_MODEL_CACHE")
    if not FOOTAGE.exists():
        pytest.skip(f"{FOOTAGE.name} is not in ../shared/footage")
    confined = counted(model, FOOTAGE, tmp_path, frames=40, confined=True)
    assert any(labels for _, labels, _ in confined)
    assert confined == counted(model, FOOTAGE, tmp_path, frames=40, confined=False)


def test_pyav_reaches_the_ports_of_cameras_and_no_other(tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        elsewhere = listener.getsockname()[1]
        answer = run_child("eye", ["connect_camera"], own=[tmp_path], ports=[free_port()], elsewhere=elsewhere)
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert answer["connect_camera"] == [errno.ECONNREFUSED, errno.EACCES]


def test_it_can_import_what_it_sees_with_and_not_what_speaks(tmp_path) -> None:
    libraries = ["numpy", "cv2", "av", "aiomqtt", "paho.mqtt.client", "fastapi", "sqlalchemy"]
    guarded, bare = run_child("eye", ["imports"], own=[tmp_path], libraries=libraries)["imports"]
    assert guarded == ["", "", "", *["ModuleNotFoundError"] * 4]
    assert bare[:3] == ["", "", ""]
    assert set(bare[3:]) == {"PermissionError"}
