"""A confined mouth does its work: a real broker, its own loop, its outbox; and opens no picture."""

import pytest

from confine_builders import needs_kernel, run_child
from veilleur_simulator.broker import broker_in

pytestmark = needs_kernel


def test_it_speaks_with_a_broker_and_writes_its_outbox(tmp_path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    with broker_in(tmp_path / "broker") as broker:
        answer = run_child("mouth", ["speak", "store", "threads"], own=[own], ports=[broker.port])
    assert answer["speak"] == ["trial/one", "hello"]
    assert answer["store"] == ["wal", 1]
    assert answer["threads"] == [number**2 for number in range(8)]
    assert (own / "outbox.db").exists()


def test_it_cannot_reach_a_broker_on_another_port(tmp_path) -> None:
    with broker_in(tmp_path / "broker") as broker:
        other = broker.port - 1 if broker.port > 1 else broker.port + 1
        with pytest.raises(AssertionError, match=r"Permission denied|Errno 13"):
            run_child("mouth", ["speak"], own=[tmp_path], ports=[other], speak_to=broker.port)


def test_it_cannot_import_a_library_that_opens_pictures(tmp_path) -> None:
    libraries = ["numpy", "cv2", "av", "openvino", "veilleur_models.package"]
    guarded, bare = run_child("mouth", ["imports"], own=[tmp_path], libraries=libraries)["imports"]
    assert guarded == ["ModuleNotFoundError"] * 5
    assert bare == ["PermissionError"] * 5
    free, _ = run_child("mouth", ["imports"], own=[tmp_path], libraries=libraries, confined=False)["imports"]
    assert free == [""] * 5


def test_it_cannot_open_a_clip_nor_what_the_eye_alone_knows(tmp_path) -> None:
    own, clips = tmp_path / "own", tmp_path / "clips"
    for folder in (own, clips):
        folder.mkdir()
    files = [clips / "gare.clip", tmp_path / "secrets.toml", tmp_path / "site.toml", own / "outbox.db"]
    for file in files:
        file.write_bytes(b"x")
    answer = run_child("mouth", ["opens"], own=[own], files=list(map(str, files)))
    assert answer["opens"] == ["PermissionError", "PermissionError", "PermissionError", ""]
    assert run_child("mouth", ["opens"], own=[own], files=list(map(str, files)), confined=False)["opens"] == [""] * 4
