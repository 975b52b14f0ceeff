"""What a city copies to its machines is linted, read by the program it is for, and says what the code says."""

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from veilleur_contracts.site import read_site

CONFIG = Path(__file__).parents[2] / "firmware-config"


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.fleet"])
def test_the_dockerfile_passes_the_linter(name) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, "--no-color", CONFIG / name], capture_output=True, text=True, check=False)
    assert found.stdout + found.stderr == ""
    assert found.returncode == 0


def test_the_linter_would_find_a_fault(tmp_path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /x && sudo apt-get install y\n")
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, tmp_path / "Dockerfile"], capture_output=True, text=True, check=False)
    assert found.returncode != 0


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.fleet"])
def test_every_path_an_image_copies_is_there(name) -> None:
    for line in (CONFIG / name).read_text(encoding="utf-8").splitlines():
        copied = re.fullmatch(r"COPY (?!--from)(.+) \S+", line)
        for source in copied[1].split() if copied else ():
            assert (CONFIG.parent / source).exists(), f"{name} copies {source}, which is not there"


def test_each_process_of_a_box_has_its_own_uid() -> None:
    text = (CONFIG / "Dockerfile").read_text(encoding="utf-8")
    uids = re.findall(r"useradd --uid (\d+)", text)
    assert len(uids) == len(set(uids)) == 3


def test_compose_reads_and_names_files_that_are_there() -> None:
    compose = yaml.safe_load((CONFIG / "docker-compose.yml").read_text(encoding="utf-8"))
    agent = compose["services"]["agent"]
    assert agent["ulimits"] == {"core": 0}
    assert agent["cap_drop"] == ["ALL"]
    for service in ("agent", "fleet"):
        assert (CONFIG.parent / compose["services"][service]["build"]["dockerfile"]).is_file()


def test_the_example_site_is_a_site() -> None:
    assert read_site(CONFIG / "site.example.toml").camera[0].secret == "gare-parvis"  # noqa: S105 - a name


def test_broker_and_fleet_share_the_folder_of_lists_and_nothing_is_left_open() -> None:
    services = yaml.safe_load((CONFIG / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    assert "broker-files:/mosquitto/files" in services["broker"]["volumes"]
    folder = services["fleet"]["environment"]["VEILLEUR_FLEET_BROKER_FILES"]
    assert f"broker-files:{folder}" in services["fleet"]["volumes"]
    uid = re.search(r"useradd --uid (\d+)", (CONFIG / "Dockerfile.fleet").read_text(encoding="utf-8"))
    assert services["broker"]["user"] == f"{uid[1]}:{uid[1]}"
    assert services["agent"]["environment"]["VEILLEUR_BROKER"].startswith("mqtts://")
    assert "allow_anonymous true" not in (CONFIG / "broker" / "mosquitto.conf").read_text(encoding="utf-8")


def unit_of(name: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string((CONFIG / "hardening" / name).read_text(encoding="utf-8"))
    return unit


def test_the_agent_never_starts_without_its_firewall() -> None:
    agent, firewall = unit_of("veilleur-agent.service"), unit_of("veilleur-firewall.service")
    assert "veilleur-firewall.service" in agent["Unit"]["Requires"]
    assert "veilleur-firewall.service" in agent["Unit"]["After"]
    assert not any(name.startswith("Condition") for name in firewall["Unit"]), "a skipped unit counts as started"
    assert agent["Service"]["LimitCORE"] == "0"


def test_the_kernel_of_a_box_keeps_no_memory_on_disk() -> None:
    lines = (CONFIG / "hardening" / "99-veilleur.conf").read_text(encoding="utf-8").splitlines()
    settings = dict(line.split(" = ") for line in lines if line and not line.startswith("#"))
    assert settings["fs.suid_dumpable"] == "0"
    assert settings["kernel.core_pattern"] == "|/bin/false"
    known = [Path("/proc/sys", *name.split(".")) for name in settings]
    assert sum(path.exists() for path in known) >= len(known) - 2, (
        "names this kernel has, but for what it was built without"
    )
