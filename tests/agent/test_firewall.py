"""The ruleset a box's firewall is given, and what the command says when it cannot write one."""

import asyncio
import subprocess

import pytest
from typer.testing import CliRunner

from proof.hosts import path_of
from veilleur_agent.cli import app
from veilleur_agent.enrolled import Enrolled, write_enrolled
from veilleur_agent.errors import StartRefusedError
from veilleur_agent.firewall import Endpoint, Reachable, look_up, ruleset_of

EYE = Reachable("eye", 2001, (Endpoint("192.0.2.9", 554), Endpoint("2001:db8::9", 554), Endpoint("192.0.2.9", 554)))
MOUTH = Reachable("mouth", 2002, (Endpoint("192.0.2.1", 8883),))
SITE = '[site]\nbox = "b"\ncontroller = "ville"\n\n[[camera]]\nid = "gare"\ninsee = "30189"\nsource = "{}"\n'
UIDS = {"VEILLEUR_EYE_UID": "2001", "VEILLEUR_MOUTH_UID": "2002"}


def test_each_user_reaches_its_own_addresses_and_is_refused_all_others() -> None:
    rules = ruleset_of((EYE, MOUTH))
    assert rules.count("192.0.2.9 . 554") == 1
    assert "elements = { 2001:db8::9 . 554 }" in rules
    assert "meta skuid 2001 jump eye" in rules
    assert "meta skuid 2002 jump mouth" in rules
    assert rules.count("reject") == 2
    assert rules == ruleset_of((EYE, MOUTH))


def test_nft_understands_it(tmp_path) -> None:
    nft = path_of("nft")
    if nft is None:
        pytest.skip("nft is not installed here (Debian: nftables)")
    file = tmp_path / "rules.nft"
    file.write_text(ruleset_of((EYE, Reachable("mouth", 2002, ()))), encoding="utf-8")
    checked = subprocess.run([nft, "--check", "--file", str(file)], check=False, capture_output=True, text=True)
    if "Operation not permitted" in checked.stderr:
        pytest.skip("this account may not ask the kernel's packet filter")
    assert checked.returncode == 0, checked.stderr


def test_a_name_nobody_knows_is_refused_rather_than_cut_off() -> None:
    with pytest.raises(StartRefusedError, match=r"camera\.invalid"):
        asyncio.run(look_up([("camera.invalid", 554)]))


def test_the_command_prints_the_rules_of_a_site(tmp_path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(SITE.format("rtsp://192.0.2.9/main"), encoding="utf-8")
    more = {"VEILLEUR_FLEET": "http://192.0.2.2:8443", "VEILLEUR_GATEWAY": "mqtt://127.0.0.1:1884"}
    called = ["firewall", "--site", str(site), "--broker", "mqtt://192.0.2.1", "--state", str(tmp_path)]
    done = CliRunner().invoke(app, called, env=UIDS | more)
    assert done.exit_code == 0, done.output
    assert "192.0.2.9 . 554" in done.output
    assert "127.0.0.1 . 1884, 192.0.2.1 . 1883, 192.0.2.2 . 8443" in done.output


def test_an_enrolled_box_is_not_cut_off_from_the_fleet_it_enrolled_with(tmp_path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(SITE.format("rtsp://192.0.2.9/main"), encoding="utf-8")
    write_enrolled(
        tmp_path, Enrolled("b", "ville", "https://192.0.2.2:8443", "mqtts://192.0.2.1:8883", "a certificate")
    )
    done = CliRunner().invoke(app, ["firewall", "--site", str(site), "--state", str(tmp_path)], env=UIDS)
    assert done.exit_code == 0, done.output
    assert "elements = { 192.0.2.1 . 8883, 192.0.2.2 . 8443 }" in done.output


def test_without_users_there_is_nothing_to_tell_apart(tmp_path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(SITE.format("rtsp://192.0.2.9/main"), encoding="utf-8")
    done = CliRunner().invoke(app, ["firewall", "--site", str(site)])
    assert isinstance(done.exception, StartRefusedError)
