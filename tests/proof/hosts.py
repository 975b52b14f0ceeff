"""Two hosts of a test's own, in network namespaces: the box on one, everything else on the other.

    hall 192.0.2.1 ──veth──▶ box 192.0.2.2        what leaves the box crosses the one wire, where tcpdump listens
    (broker, fleet)          (agent, camera on its own loopback, default route into the wire)

The box's disk is its own too: a mount namespace in which one folder can be written and nothing else.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from veilleur_simulator.processes import Child, wait_until

HALL: Final = "192.0.2.1"
BOX: Final = "192.0.2.2"
"""Addresses of RFC 5737, which no network routes."""
WITHIN_S: Final = 60.0
WIRE, HALL_END = "veilleur-b", "veilleur-h"

_ONE_FOLDER: Final = """
set -eu
keep=$1; shift
mount --bind "$keep" "$keep"
while read -r _ at kind how _; do
    case "$at" in "$keep"|"$keep"/*) continue;; esac
    case "$kind" in proc|sysfs|cgroup*|devpts|mqueue|securityfs|debugfs|tracefs|bpf|nsfs) continue;; esac
    case ",$how," in *,ro,*) continue;; esac
    mount -o remount,bind,ro "$at" 2>/dev/null || mount -t tmpfs -o ro veilleur "$at"
done </proc/self/mounts
[ -d /dev/shm ] && mount --bind "$keep/shm" /dev/shm
exec "$@"
"""


def missing_here() -> str | None:
    """Return why two hosts cannot be made on this machine; None when they can."""
    if os.geteuid() != 0:
        return "namespaces of networks and mounts are made by root"
    lacking = [program for program in ("ip", "nsenter", "unshare", "tcpdump", "mosquitto") if not path_of(program)]
    if lacking:
        return f"{', '.join(lacking)}: not installed here (Debian: iproute2, util-linux, tcpdump, mosquitto)"
    tried = subprocess.run(
        [path_of("unshare") or "", "--net", "--mount", "true"], check=False, capture_output=True, timeout=10
    )
    return None if tried.returncode == 0 else "this machine lets nobody make namespaces"


def path_of(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")  # noqa: TID251 - to look further


@dataclass(frozen=True, slots=True)
class Host:
    """One network namespace, for as long as the process lives that holds it."""

    name: str
    pid: int

    def inside(self, *command: str) -> list[str]:
        """Return ``command`` as it is run on this host."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *command]

    def do(self, *command: str) -> None:
        subprocess.run(self.inside(*command), check=True, capture_output=True, timeout=WITHIN_S)

    def with_one_folder(self, folder: Path, *command: str) -> list[str]:
        """Return ``command`` as it is run on this host where nothing but ``folder`` can be written."""
        alone = ("unshare", "--mount", "--propagation=private", "sh", "-c", _ONE_FOLDER, "sh", str(folder))
        return self.inside(*alone, *command)


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Yield hall and box, joined by one wire; all of it is gone afterwards."""
    with _host("hall") as hall, _host("box") as box:
        ip = path_of("ip") or "ip"
        hall.do(
            ip, "link", "add", HALL_END, "type", "veth", "peer", "name", WIRE, "netns", f"/proc/{box.pid}/ns/net"
        )  # fmt: skip  # one command
        for host, address, end in ((hall, HALL, HALL_END), (box, BOX, WIRE)):
            host.do("sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 || true")
            host.do(ip, "link", "set", "lo", "up")
            host.do(ip, "address", "add", f"{address}/30", "dev", end)
            host.do(ip, "link", "set", end, "up")
        box.do(ip, "route", "add", "default", "via", HALL)
        yield hall, box


@contextlib.contextmanager
def _host(name: str) -> Iterator[Host]:
    holder = Child(name, ["unshare", "--net", sys.executable, "-c", "import signal; signal.pause()"], None)
    own = Path("/proc/self/ns/net").readlink()
    with holder:
        wait_until(lambda: Path(f"/proc/{holder.pid}/ns/net").readlink() != own, WITHIN_S, f"a network for the {name}")
        yield Host(name, holder.pid)


@contextlib.contextmanager
def captured(host: Host, interface: str, file: Path) -> Iterator[None]:
    """Write every packet on ``interface`` to ``file``, whole."""
    command = [
        path_of("tcpdump") or "tcpdump",
        "-i",
        interface,
        "-U",
        "--immediate-mode",
        "-s",
        "0",
        "-B",
        "16384",
        "-Z",
        "root",
        "-w",
    ]
    log = file.with_suffix(".log")
    with Child(f"tcpdump {interface}", host.inside(*command, str(file)), log) as child:
        wait_until(lambda: file.exists() and file.stat().st_size > 0, WITHIN_S, "tcpdump to listen")
        yield
        # What it has not read yet when it is interrupted is lost.
        wait_until(lambda: _has_written_all(child.pid, log), WITHIN_S, "tcpdump to write what it received")
        os.kill(child.pid, signal.SIGINT)
        child.wait(WITHIN_S)


def _has_written_all(pid: int, log: Path) -> bool:
    """Ask tcpdump how many packets it has written: it reads what waits between two answers, so the last three agree."""

    def told() -> list[str]:
        return re.findall(r"(\d+) packets? captured, ", log.read_text(encoding="utf-8"))

    before = len(told())
    os.kill(pid, signal.SIGUSR1)
    wait_until(lambda: len(told()) > before, WITHIN_S, "tcpdump to say what it has written")
    last = told()[-3:]
    return len(last) == 3 and len(set(last)) == 1
