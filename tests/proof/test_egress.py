"""A whole box on a network and a disk of its own: no picture leaves it or is written, in any form one could take.

film with a canary ─▶ RTSP ─▶ box ─┬─▶ the wire, every packet ─┐
                                   ├─▶ stdout, stderr ─────────┼─▶ looked through in every form ─▶ nothing
                                   └─▶ the one folder ─────────┘
the same picture, sent and written on purpose ─▶ the same search ─▶ found
"""

import base64
import contextlib
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from journeys.town import site_of
from proof.capture import Flow, flows_of
from proof.hosts import BOX, HALL, HALL_END, WITHIN_S, Host, captured, missing_here, path_of, two_hosts
from proof.leaks import Canary, Form, canary_in, densest, found_in
from proof.table import Proofs
from veilleur_agent.confine.process import lacking_here
from veilleur_simulator.balance import read_tally, stored_in, total_of
from veilleur_simulator.processes import Child, program_command, wait_until
from veilleur_simulator.rtsp_process import PASSWORD_VARIABLE

MISSING = missing_here()
pytestmark = [
    pytest.mark.journey,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("proof"),
    pytest.mark.skipif(MISSING is not None, reason=f"no namespaces: {MISSING}"),
]

BROKER_PORT, SINK_PORT = 1883, 9
FRAMES_MIN = 300
ELSEWHERE = "198.51.100.7"
"""An address of RFC 5737: nobody is there."""
PICTURE_BITS = 16 * 16 * 4
"""The least of a picture in which anybody was ever recognised: 16 x 16 pixels of 16 greys."""
LISTEN = f"""
import socket
with socket.create_server(("{HALL}", {SINK_PORT})) as listening:
    print("listening", flush=True)
    while True:
        peer = listening.accept()[0]
        while peer.recv(65536):
            pass
"""
SEND = f"""
import socket, sys
with socket.create_connection(("{HALL}", {SINK_PORT}), 10) as peer:
    peer.sendall(open(sys.argv[1], "rb").read())
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stray:
    stray.sendto(b"anybody there", ("{ELSEWHERE}", 53))
"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run of the box left behind."""

    sent: dict[Flow, bytes]
    said_to_camera: bytes
    said_to_box: bytes
    folder: Path
    log: bytes
    frames: int
    crossings: int
    password: str


def box_site(url: str) -> str:
    return site_of(url, extra='user = "veilleur"\nsecret = "avenue"')


@pytest.fixture(scope="module")
def canary(canary_film: Path) -> Canary:
    return canary_in(canary_film)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory, models: Path, canary_film: Path) -> Evidence:
    folder = tmp_path_factory.mktemp("egress")
    password = secrets.token_urlsafe(18)
    wire, camera = folder / "wire.pcap", folder / "camera.pcap"
    with (
        two_hosts() as (hall, box),
        captured(hall, HALL_END, wire),
        captured(box, "lo", camera),
        fleet_on(hall, folder) as database,
        camera_on(box, folder, canary_film, password) as url,
    ):
        frames, crossings = run_box(box, folder, models=models, url=url, password=password, database=database)
    port = int(url.split(":")[2].split("/")[0])
    said = flows_of(camera)
    return Evidence(
        sent={flow: data for flow, data in flows_of(wire).items() if flow.source != HALL},
        said_to_camera=b"".join(data for flow, data in said.items() if flow.target_port == port),
        said_to_box=b"".join(data for flow, data in said.items() if flow.source_port == port),
        folder=folder / "box",
        log=(folder / "box.log").read_bytes(),
        frames=frames,
        crossings=crossings,
        password=password,
    )


@contextlib.contextmanager
def fleet_on(hall: Host, folder: Path) -> Iterator[Path]:
    """Run a broker and a fleet; yield the fleet's database."""
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {BROKER_PORT} {HALL}\nallow_anonymous true\nset_tcp_nodelay true\nuser root\n")
    broker = hall.inside(path_of("mosquitto") or "mosquitto", "-c", str(settings))
    run = program_command("veilleur-fleet", "run", "--data", str(folder / "fleet"))
    run += ["--broker", f"mqtt://{HALL}:{BROKER_PORT}", "--listen", "127.0.0.1:0"]
    with (
        Child("broker", broker, folder / "broker.log"),
        Child("fleet", hall.inside(*run), folder / "fleet.log", speaks=True) as fleet,
    ):
        fleet.line(WITHIN_S)
        yield folder / "fleet" / "fleet.db"


@contextlib.contextmanager
def camera_on(box: Host, folder: Path, film: Path, password: str) -> Iterator[str]:
    """Serve the film on the box's own loopback, behind a password; yield its address."""
    serve = program_command("veilleur-simulator", "rtsp", str(film), "--user", "veilleur")
    secret = {PASSWORD_VARIABLE: password}
    with Child("camera", box.inside(*serve), folder / "camera.log", speaks=True, environment=secret) as camera:
        yield str(json.loads(camera.line(WITHIN_S))["url"])


def run_box(box: Host, folder: Path, *, models: Path, url: str, password: str, database: Path) -> tuple[int, int]:
    """Run an agent until the fleet has its counts; return frames analysed and crossings stored."""
    keep = folder / "box"
    for name in ("state", "tmp", "shm"):
        (keep / name).mkdir(parents=True)
    site, kept_secret, token = folder / "site.toml", folder / "secrets.toml", keep / "token"
    site.write_text(site_of(url, extra='user = "veilleur"\nsecret = "avenue"'), encoding="utf-8")
    kept_secret.write_text(f'avenue = "{password}"\n', encoding="utf-8")
    token.write_text(url.split("/")[3], encoding="utf-8")
    for private in (kept_secret, token):
        private.chmod(0o600)
    run = program_command("veilleur-agent", "run", "--site", str(site), "--secrets", str(kept_secret))
    run += ["--state", str(keep / "state"), "--models", str(models), "--model", "sprite", "--policy", "bench"]
    run += ["--broker", f"mqtt://{HALL}:{BROKER_PORT}", "--bench-token", str(token)]
    if lacking_here():
        run.append("--allow-unconfined")
    surroundings = {"TMPDIR": str(keep / "tmp"), "HOME": str(keep), "VEILLEUR_TRUST_CLOCK": "true"}
    with Child("box", box.with_one_folder(keep, *run), folder / "box.log", environment=surroundings) as agent:

        def frames() -> int:
            tally = read_tally(keep / "state")
            return 0 if tally is None else sum(tally.frames.values())

        def is_done() -> bool:
            assert agent.exit_code is None, agent.told("the box has ended")
            return frames() >= FRAMES_MIN and stored(database) > 0

        wait_until(is_done, WITHIN_S, "counts of the filmed street")
        agent.interrupt()
        assert agent.wait(WITHIN_S) == 0, agent.told("the box did not end well")
    return frames(), stored(database)


def stored(database: Path) -> int:
    return total_of(stored_in(database)[0]) if database.exists() else 0


def test_the_box_talks_to_its_broker_and_to_nobody_else(evidence: Evidence, proofs: Proofs) -> None:
    talked = {f"{flow.protocol} {flow.target}:{flow.target_port}" for flow in evidence.sent if flow.target}
    proofs.check(
        "egress", "destinations on the wire", must="be the broker", was=", ".join(sorted(talked)),
        holds=talked == {f"tcp {HALL}:{BROKER_PORT}"},
    )  # fmt: skip  # a row of the table
    assert evidence.crossings > 0, "the box counted, or nothing is proven"


@pytest.mark.parametrize("form", list(Form))
def test_no_picture_is_on_the_wire(evidence: Evidence, canary: Canary, proofs: Proofs, form: Form) -> None:
    sent = b"".join(evidence.sent.values())
    assert len(sent) > 500
    was = f"{'found' if form in found_in(sent, canary) else 'nothing'} in {len(sent)} B"
    proofs.check("egress", f"the wire, {form.value}", must="hold no picture", was=was, holds=was.startswith("nothing"))


def test_what_leaves_is_too_little_for_a_picture(evidence: Evidence, proofs: Proofs) -> None:
    bits = sum(map(len, evidence.sent.values())) * 8 / evidence.frames
    was = f"{bits:.0f} bits a frame, {densest(b''.join(evidence.sent.values())):.1f} bits/B at the densest"
    proofs.check(
        "egress", "bits sent for each frame seen", must=f"be under {PICTURE_BITS}", was=was, holds=bits < PICTURE_BITS
    )


def test_no_picture_is_said_to_the_camera(evidence: Evidence, canary: Canary, proofs: Proofs) -> None:
    found = found_in(evidence.said_to_camera, canary)
    was = f"{len(found)} forms in {len(evidence.said_to_camera)} B"
    proofs.check("egress", "requests to the camera", must="hold no picture", was=was, holds=not found)
    assert len(evidence.said_to_box) > 100 * len(evidence.said_to_camera), "the film went to the box by this way"


def test_no_picture_is_written_or_said(evidence: Evidence, canary: Canary, proofs: Proofs) -> None:
    found, looked = set(), 0
    for path in evidence.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            looked += len(data)
            if found_in(data, canary, may_be_dense=True):
                found.add(path.name)
    proofs.check(
        "egress", "everything written", must="hold no picture", was=f"{len(found)} files of {looked} B", holds=not found
    )
    said = found_in(evidence.log, canary)
    was = f"{len(said)} forms in {len(evidence.log)} B"
    proofs.check("egress", "stdout and stderr", must="hold no picture", was=was, holds=not said)


def test_the_camera_password_is_nowhere(evidence: Evidence, proofs: Proofs) -> None:
    places = [*evidence.sent.values(), evidence.said_to_camera, evidence.log]
    places += [path.read_bytes() for path in evidence.folder.rglob("*") if path.is_file()]
    forms = [
        evidence.password.encode(),
        base64.b64encode(evidence.password.encode()),
        evidence.password.encode().hex().encode(),
    ]
    found = sum(form in place for form in forms for place in places)
    proofs.check("egress", "the camera's password", must="be nowhere", was=f"{found} places", holds=found == 0)


@dataclass(frozen=True, slots=True)
class Leaked:
    """One way in which a picture is let out on purpose."""

    name: str
    data: bytes
    form: Form


def leaks_of(film: Path) -> list[Leaked]:
    with av.open(str(film)) as container:
        frame = next(container.decode(video=0))
    grey = frame.to_ndarray(format="gray")
    yuv = frame.to_ndarray(format="yuv420p").tobytes()
    height, width = grey.shape

    def smaller(scale: int) -> bytes:
        return cv2.resize(grey, (width // scale, height // scale), interpolation=cv2.INTER_AREA).tobytes()

    jpeg = cv2.imencode(".jpg", grey)[1].tobytes()  # noqa: TID251 - the leak that must be found
    mask = np.frombuffer(secrets.token_bytes(len(yuv)), np.uint8)
    return [
        Leaked("raw", yuv, Form.AS_IT_IS),
        Leaked("base64", b"{" + base64.b64encode(yuv[: width * 64]) + b"}", Form.AS_IT_IS),
        Leaked("hexadecimal", yuv[: width * 64].hex().encode(), Form.AS_IT_IS),
        Leaked("JPEG in base64", base64.b64encode(jpeg), Form.PICTURE),
        Leaked("JPEG", jpeg, Form.DENSE),
        Leaked("a half", smaller(2), Form.SMALLER),
        Leaked("a quarter", smaller(4), Form.SMALLER),
        Leaked("an eighth", smaller(8), Form.SMALLER),
        Leaked("encrypted", (np.frombuffer(yuv, np.uint8) ^ mask).tobytes(), Form.DENSE),
    ]


@pytest.fixture(scope="module")
def leaked(tmp_path_factory: pytest.TempPathFactory, canary_film: Path) -> dict[str, tuple[Leaked, bytes]]:
    """Each leak as it was captured on the wire from the box's host, and whatever else that said."""
    folder = tmp_path_factory.mktemp("leaks")
    got: dict[str, tuple[Leaked, bytes]] = {}
    with two_hosts() as (hall, box):
        listen = hall.inside(sys.executable, "-c", LISTEN)
        with Child("sink", listen, folder / "sink.log", speaks=True) as sink:
            sink.line(WITHIN_S)
            for number, leak in enumerate(leaks_of(canary_film)):
                file, wire = folder / f"{number}.bin", folder / f"{number}.pcap"
                file.write_bytes(leak.data)
                with captured(hall, HALL_END, wire):
                    box.do(sys.executable, "-c", SEND, str(file))
                said = {flow: data for flow, data in flows_of(wire).items() if flow.source == BOX}
                assert any(flow.target == ELSEWHERE for flow in said), "a word to anybody else is seen"
                got[leak.name] = leak, b"".join(data for flow, data in said.items() if flow.target == HALL)
    return got


@pytest.mark.parametrize(
    "name",
    ["raw", "base64", "hexadecimal", "JPEG in base64", "JPEG", "a half", "a quarter", "an eighth", "encrypted"],
)
def test_the_same_search_finds_what_is_let_out_on_purpose(
    leaked: dict[str, tuple[Leaked, bytes]], canary: Canary, proofs: Proofs, name: str
) -> None:
    leak, captured_bytes = leaked[name]
    found = found_in(captured_bytes, canary)
    was = ", ".join(sorted(form.value for form in found)) or "nothing"
    proofs.check(
        "egress",
        f"a frame sent: {name}",
        must=f"be found, {leak.form.value}",
        was=was,
        holds=leak.form in found,
        control=True,
    )


def test_a_box_cannot_write_beside_its_folder_in_this_run(tmp_path: Path, proofs: Proofs) -> None:
    keep, beside = tmp_path / "keep", tmp_path / "beside"
    (keep / "shm").mkdir(parents=True)
    with two_hosts() as (_, box):
        for place, may in ((keep / "in", True), (beside, False), (Path("/var/tmp/veilleur-beside"), False)):  # noqa: S108 - tried, and must fail
            done = subprocess.run(
                box.with_one_folder(keep, "touch", str(place)), check=False, capture_output=True, timeout=WITHIN_S
            )
            assert place.exists() == may
            was = "written" if done.returncode == 0 else "refused"
            where = "in its folder" if may else "beside it" if place == beside else f"in {place.parent}"
            proofs.check(
                "egress",
                f"a file written {where}",
                must="be " + ("written" if may else "refused"),
                was=was,
                holds=(was == "written") == may,
                control=may,
            )


def test_a_picture_written_is_found(canary: Canary, canary_film: Path, proofs: Proofs) -> None:
    found = {leak.name for leak in leaks_of(canary_film) if found_in(b"head" + leak.data, canary, may_be_dense=True)}
    wanted = {leak.name for leak in leaks_of(canary_film)} - {"encrypted"}
    proofs.check(
        "egress",
        "a frame written",
        must="be found",
        was=f"{len(found)} of {len(wanted)} forms",
        holds=found >= wanted,
        control=True,
    )
