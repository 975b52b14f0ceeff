"""The firewall by user, in a real kernel: eye and mouth reach their own addresses and nobody else's."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proof.hosts import HALL, WITHIN_S, Host, missing_here, path_of, two_hosts
from proof.table import Proofs
from veilleur_agent.firewall import Endpoint, Reachable, ruleset_of
from veilleur_simulator.processes import Child

MISSING = missing_here() or (None if path_of("nft") else "nft is not installed (Debian: nftables)")
pytestmark = [
    pytest.mark.journey,
    pytest.mark.timeout(120),
    pytest.mark.skipif(MISSING is not None, reason=f"no firewall to try: {MISSING}"),
]

EYE_UID, MOUTH_UID, OTHER_UID = 2001, 2002, 2003
CAMERA_PORT, BROKER_PORT = 8554, 1883
ELSEWHERE = "198.51.100.1"
"""Another address of the hall, as a server of somebody else's that listens on the very same ports."""
LISTEN = f"""
import selectors, socket
waiting = selectors.DefaultSelector()
for host in ("{HALL}", "{ELSEWHERE}"):
    for port in ({CAMERA_PORT}, {BROKER_PORT}):
        waiting.register(socket.create_server((host, port)), selectors.EVENT_READ)
print("listening", flush=True)
while True:
    for key, _ in waiting.select():
        key.fileobj.accept()[0].close()
"""
CONNECT = """
import os, socket, sys
os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
try:
    socket.create_connection((sys.argv[2], int(sys.argv[3])), 5).close()
except OSError:
    sys.exit(1)
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Path]]:
    folder = tmp_path_factory.mktemp("firewall")
    with two_hosts() as (hall, box):
        hall.do(path_of("ip") or "ip", "address", "add", f"{ELSEWHERE}/32", "dev", "lo")
        with Child("hall", hall.inside(sys.executable, "-c", LISTEN), folder / "hall.log", speaks=True) as listening:
            listening.line(WITHIN_S)
            yield box, folder


def reaches(box: Host, uid: int, address: str, port: int, log: Path) -> bool:
    command = box.inside("/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable, "-c", CONNECT)
    with Child("try", [*command, str(uid), address, str(port)], log) as trying:
        return trying.wait(WITHIN_S) == 0


def test_eye_and_mouth_reach_their_own_and_nobody_else(hosts: tuple[Host, Path], proofs: Proofs) -> None:
    box, folder = hosts
    log, rules = folder / "try.log", folder / "rules.nft"
    eye = Reachable("eye", EYE_UID, (Endpoint(HALL, CAMERA_PORT),))
    mouth = Reachable("mouth", MOUTH_UID, (Endpoint(HALL, BROKER_PORT),))
    rules.write_text(ruleset_of((eye, mouth)), encoding="utf-8")
    before = [reaches(box, uid, ELSEWHERE, CAMERA_PORT, log) for uid in (EYE_UID, MOUTH_UID)]
    proofs.check(
        "firewall", "without it, another address", must="be reached", was=before, holds=all(before), control=True
    )
    for _ in range(2):  # it replaces itself
        box.do(path_of("nft") or "nft", "--file", str(rules))
    for who, uid, address, port, may in (
        ("eye, its camera", EYE_UID, HALL, CAMERA_PORT, True),
        ("eye, another address, the same port", EYE_UID, ELSEWHERE, CAMERA_PORT, False),
        ("eye, the broker", EYE_UID, HALL, BROKER_PORT, False),
        ("mouth, its broker", MOUTH_UID, HALL, BROKER_PORT, True),
        ("mouth, another address, the same port", MOUTH_UID, ELSEWHERE, BROKER_PORT, False),
        ("mouth, a camera", MOUTH_UID, HALL, CAMERA_PORT, False),
        ("anybody else", OTHER_UID, ELSEWHERE, BROKER_PORT, True),
    ):
        was = "reached" if reaches(box, uid, address, port, log) else "refused"
        must = "reached" if may else "refused"
        proofs.check("firewall", who, must=f"be {must}", was=was, holds=was == must, control=may)
