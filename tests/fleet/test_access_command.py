"""``veilleur-fleet account``, ``token`` and ``actions`` as people type them."""

import asyncio
import os
import pwd
import subprocess

import httpx
import pytest
from typer.testing import CliRunner

from veilleur_fleet.cli import cli

PASSWORD = "trois petits chats\n"  # noqa: S105 - of nobody


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def password_file(tmp_path):
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    file.chmod(0o600)
    return file


@pytest.fixture
def say(data):
    def said(*words, typed=None):
        done = CliRunner().invoke(cli, [*map(str, words), "--data", str(data)], input=typed)
        return done.exit_code, done.output

    return said


ADD = ("account", "add", "jmartin", "--holder", "Jeanne Martin", "--role", "operator")


def test_an_account_is_made_listed_given_another_password_and_disabled(say, password_file) -> None:
    assert say(*ADD, "--password-file", password_file) == (0, "account jmartin made for Jeanne Martin: operator\n")
    code, text = say("account", "list")
    assert code == 0
    assert "jmartin\toperator\tJeanne Martin\tsince " in text
    assert say("account", "password", "jmartin", typed="un autre mot de passe\n" * 2)[0] == 0
    assert say("account", "disable", "jmartin") == (0, "account jmartin disabled\n")
    assert "disabled 2" in say("account", "list")[1]
    code, text = say("actions", "list")
    me = pwd.getpwuid(os.getuid()).pw_name
    assert [line.split("\t")[2:5] for line in text.splitlines()] == [
        [me, "server", "account.added"],
        [me, "server", "password.changed"],
        [me, "server", "account.disabled"],
    ]
    assert "petits" not in text


def test_a_token_is_printed_once_and_revoked(say) -> None:
    code, secret = say("token", "new", "hypervisor", "--role", "consumer-traffic-control")
    assert code == 0
    assert secret.startswith("veilleur_")
    code, text = say("token", "list")
    assert "hypervisor\tconsumer-traffic-control\tuntil 2" in text
    assert "never used" in text
    assert secret.strip() not in text
    assert say("token", "revoke", "hypervisor")[0] == 0
    assert "revoked 2" in say("token", "list")[1]


def test_actions_are_verified_against_a_head_noted_earlier(say, password_file) -> None:
    assert say(*ADD, "--password-file", password_file)[0] == 0
    code, text = say("actions", "verify")
    assert code == 0
    head = text.split()[-1]
    assert say("actions", "verify", "--head", head)[0] == 0
    code, text = say("actions", "verify", "--head", f"2:{'0' * 64}")
    assert code == 1
    assert "cut off" in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("account", "add", "J", "--holder", "J", "--role", "operator"), "cannot be a name"),
        (("account", "add", "j", "--holder", "J", "--role", "boss"), "is no role"),
        (("account", "disable", "nobody"), "account list"),
        (("account", "password", "nobody"), "account list"),
        (("token", "revoke", "none"), "token list"),
        (("token", "new", "x", "--role", "operator", "--days", "0"), "730"),
        (("actions", "verify", "--head", "3"), "NUMBER:DIGEST"),
    ],
)
def test_what_is_refused_is_refused_in_one_sentence(say, words, sentence) -> None:
    assert say("account", "list")[0] == 0
    code, text = say(*words, typed=PASSWORD * 2)
    assert code == 1
    assert sentence in text
    assert "Traceback" not in text


def test_a_folder_without_a_database_has_no_actions(say) -> None:
    code, text = say("actions", "list")
    assert code == 1
    assert "there is no fleet's database" in text


@pytest.mark.journey
async def test_an_account_made_beside_a_running_fleet_is_asked_for_at_once(
    worlds, start_fleet, broker, tmp_path, password_file
) -> None:
    fleet = start_fleet(broker.port)
    async with httpx.AsyncClient(base_url=fleet.url) as web:
        assert (await web.get("/v1/counts")).status_code == 200
        command = worlds.fleet_command(*ADD, "--password-file", password_file, "--data", tmp_path / "data")
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=60)
        assert (await web.get("/v1/counts")).status_code == 401
        command = worlds.fleet_command("token", "new", "t", "--role", "operator", "--data", tmp_path / "data")
        made = await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, text=True, timeout=60)
        token = made.stdout.strip()
        assert (await web.get("/v1/counts", headers={"authorization": f"Bearer {token}"})).status_code == 200
        assert (await web.get("/healthz")).status_code == 200


@pytest.mark.journey
def test_a_fleet_that_others_can_reach_does_not_start_without_an_account(worlds, tmp_path) -> None:
    command = worlds.fleet_command("run", "--data", tmp_path, "--listen", "0.0.0.0:0")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "account add" in done.stderr
    assert done.stderr.count("\n") == 1
