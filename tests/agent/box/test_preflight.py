import os
from dataclasses import replace
from pathlib import Path

import pytest

from sensor_builders import PARK_SITE
from veilleur_agent.errors import StartRefusedError
from veilleur_agent.plan import Plan
from veilleur_agent.preflight import gateway_of, lock_state, plan_of
from veilleur_agent.report_facts import destinations_of
from veilleur_agent.settings import SettingsRejectedError, broker_of, door_of, settings_of
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.site import parse_site


class Desk:
    """A folder with everything a run needs; each test spoils one thing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clip = folder / "clip.mp4"
        self.clip.write_bytes(b"a clip")
        self.models = folder / "models"
        (self.models / "sprite").mkdir(parents=True)
        (self.models / "sprite" / "card.toml").write_text("", encoding="utf-8")
        self.given: dict[str, object] = {
            "state": folder / "state",
            "models": self.models,
            "model": "sprite",
            "policy": "bench",
        }
        self.window = ""
        self.camera = f'source = "{self.clip}"'

    def plan(self) -> Plan:
        site = self.folder / "site.toml"
        site.write_text(
            f'[site]\nbox = "gare-01"\ncontroller = "ville"\n{self.window}\n'
            f'[[camera]]\nid = "gare"\ninsee = "30189"\n{self.camera}\n'
            '[[camera.line]]\nid = "kerb"\nfrom = [0.1, 0.6]\nto = [0.9, 0.6]\n',
            encoding="utf-8",
        )
        return plan_of(site, settings_of(**self.given))

    def private(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_good_site_gives_a_plan_with_a_budget_for_each_camera(desk: Desk) -> None:
    plan = desk.plan()
    assert set(plan.budgets) == {"gare"}
    assert plan.leak_bytes_per_day() > 0
    assert plan.site_file.read_bytes() == (desk.folder / "site.toml").read_bytes()
    assert (plan.state / "eye").stat().st_mode & 0o777 == 0o700
    assert plan.eye_start().site_sha256 == plan.site_sha256


@pytest.mark.parametrize(
    ("camera", "sentence"),
    [
        pytest.param('source = "/nowhere/clip.mp4"', "camera gare: its source /nowhere/clip.mp4", id="no-such-file"),
        pytest.param('source = "clip.mp4"', "relative path", id="a-relative-path"),
        pytest.param('source = "rtsp://10.0.0.7/main"', "bench policy holds only for files", id="a-street-under-bench"),
        pytest.param('source = "rtsp://u:geheim@10.0.0.7/main"', "holds credentials", id="a-password-in-the-site"),
        pytest.param('source = "/dev/null"\nsecret = "gare"', "bench policy holds only", id="a-device-under-bench"),
    ],
)
def test_a_source_that_cannot_be_used_is_refused_with_the_camera_and_the_remedy(desk, camera, sentence) -> None:
    desk.camera = camera
    with pytest.raises(RejectedError, match=sentence) as refusal:
        desk.plan()
    assert "geheim" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_secret_without_a_file_of_secrets_is_refused(desk: Desk) -> None:
    desk.camera += '\nsecret = "gare"'
    with pytest.raises(StartRefusedError, match="names the secret gare"):
        desk.plan()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_secrets_that_others_may_read_are_refused(desk: Desk, mode: int) -> None:
    secrets = desk.private("secrets.toml", 'gare = "geheim"')
    secrets.chmod(mode)
    desk.given["secrets"] = secrets
    with pytest.raises(StartRefusedError, match="chmod 600") as refusal:
        desk.plan()
    assert "geheim" not in str(refusal.value)


def test_windows_shorter_than_the_policy_allows_are_refused(desk: Desk) -> None:
    desk.given["policy"] = "strictest"
    desk.window = "window_s = 60"
    with pytest.raises(StartRefusedError, match="60 s are shorter than the 1200 s"):
        desk.plan()


def test_a_model_that_was_never_built_is_refused_with_the_command_that_builds_it(desk: Desk) -> None:
    desk.given["model"] = "nanodet-g-640x384"
    with pytest.raises(StartRefusedError, match="veilleur-models build nanodet-g-640x384"):
        desk.plan()


def test_the_one_time_token_opens_the_simulators_stream_once(desk: Desk) -> None:
    word = "a1b2c3"
    token = desk.private("token", f"{word}\n")
    desk.given["bench_token"] = token
    desk.camera = 'source = "rtsp://127.0.0.1:8554/a1b2c3/street"'
    assert desk.plan().eye_start().bench_token == word
    assert not token.exists()
    with pytest.raises(StartRefusedError, match="bench token"):
        desk.plan()


@pytest.mark.parametrize("text", ["", "../../etc", "a" * 300, "zwei worte"])
def test_a_token_that_is_none_is_refused(desk: Desk, text: str) -> None:
    desk.given["bench_token"] = desk.private("token", text)
    with pytest.raises(StartRefusedError, match="bench token"):
        desk.plan()


def test_a_state_folder_that_cannot_be_made_is_refused(desk: Desk) -> None:
    desk.given["state"] = desk.clip / "below-a-file"
    with pytest.raises(StartRefusedError, match="--state"):
        desk.plan()


def test_two_agents_never_share_a_state_folder(desk: Desk) -> None:
    state = desk.plan().state
    first = lock_state(state)
    with pytest.raises(StartRefusedError, match="another agent uses"):
        lock_state(state)
    os.close(first)
    os.close(lock_state(state))


@pytest.mark.parametrize(
    ("url", "host", "port", "user", "password"),
    [
        ("mqtt://127.0.0.1", "127.0.0.1", 1883, None, None),
        ("mqtt://broker.ville.example:8883", "broker.ville.example", 8883, None, None),
        ("mqtt://box:p%40ss@10.0.0.2:1884/", "10.0.0.2", 1884, "box", "p@ss"),
        ("mqtt://[::1]:1883", "::1", 1883, None, None),
    ],
)
def test_a_broker_is_read_from_its_address(url, host, port, user, password) -> None:
    broker = broker_of(url)
    assert (broker.host, broker.port, broker.user, broker.password) == (host, port, user, password)
    assert password is None or password not in repr(broker)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:1883",
        "http://127.0.0.1",
        "mqtt://",
        "mqtt://u:geheim@h:99999",
        "mqtt://u:geheim@h:port",
        "mqtt://u:geheim@h/topic",
        "mqtt://u:geheim@[::1",
    ],
)
def test_an_address_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingsRejectedError, match="--broker") as refusal:
        broker_of(url)
    assert "geheim" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "door"),
    [
        pytest.param(None, None, id="none"),
        pytest.param("http://10.0.0.2:8081", ("http", "10.0.0.2", 8081), id="address"),
        pytest.param("http://fleet.example", ("http", "fleet.example", 80), id="no-port"),
        pytest.param("https://[::1]/", ("https", "::1", 8443), id="ipv6"),
    ],
)
def test_a_door_is_read_from_its_address(url, door) -> None:
    found = door_of(url)
    assert (found and (found.scheme, found.host, found.port)) == door


@pytest.mark.parametrize(
    "url",
    [
        "",
        "10.0.0.2:8081",
        "ftp://x",
        "http://",
        "http://u:geheim@h",
        "http://h:99999",
        "http://h/x",
        "http://[::1",
        "http://flé.example",
        "http://a b",
    ],
)
def test_a_door_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingsRejectedError, match="--fleet") as refusal:
        door_of(url)
    assert "geheim" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("policy", "loose"), ("model", "../etc"), ("outbox_bytes", 5), ("mqtt_version", "4"), ("drain_s", -1)],
)
def test_a_setting_that_makes_no_sense_is_named(name: str, value: object) -> None:
    with pytest.raises(SettingsRejectedError, match=f"VEILLEUR_{name.upper()}"):
        settings_of(**{name: value})


def test_the_environment_is_read_and_the_command_line_wins(monkeypatch) -> None:
    monkeypatch.setenv("VEILLEUR_POLICY", "bench")
    monkeypatch.setenv("VEILLEUR_BROKER", "mqtt://u:geheim@10.0.0.2")
    settings = settings_of(state=Path("/x"), policy=None)
    assert settings.policy == "bench"
    assert settings_of(policy="strictest").policy == "strictest"
    assert "geheim" not in repr(settings)


@pytest.mark.parametrize(
    ("gateway", "sentence"),
    [
        pytest.param(None, "VEILLEUR_GATEWAY", id="nowhere"),
        pytest.param("mqtt://gateway.local:1884", "write its address", id="a-name"),
        pytest.param("http://127.0.0.1", "VEILLEUR_GATEWAY is not an address", id="no-broker"),
    ],
)
def test_sensors_without_a_gateway_that_can_be_reached_are_refused(gateway, sentence) -> None:
    site = parse_site(PARK_SITE.encode(), "site.toml")
    with pytest.raises(RejectedError, match=sentence):
        gateway_of(site, settings_of(gateway=gateway))


def test_the_mouth_is_given_the_gateway_of_a_site_with_sensors_and_may_reach_it() -> None:
    site = parse_site(PARK_SITE.encode(), "site.toml")
    found = gateway_of(site, settings_of(gateway="mqtt://v:geheim@127.0.0.1:1884"))
    assert found is not None
    assert (found.address, found.port, found.sensors) == ("127.0.0.1", 1884, site.sensor)
    assert "geheim" not in repr(found)
    assert gateway_of(parse_site(PARK_SITE.split("[[decoder]]")[0].encode(), "site.toml"), settings_of()) is None


def test_the_report_names_every_place_the_mouth_may_connect_to(desk: Desk) -> None:
    site = parse_site(PARK_SITE.encode(), "site.toml")
    plan = replace(
        desk.plan(),
        broker=broker_of("mqtts://broker.example"),
        door=door_of("https://fleet.example:8443"),
        gateway=gateway_of(site, settings_of(gateway="mqtt://127.0.0.1:1884")),
    )
    told = destinations_of(plan, {"broker": ("10.0.0.1",), "fleet": ("10.0.0.2",)}.__getitem__)
    assert [(one.what, one.host, one.addresses) for one in told] == [
        ("broker", "broker.example", ("10.0.0.1",)),
        ("door", "fleet.example", ("10.0.0.2",)),
        ("gateway", "127.0.0.1", ("127.0.0.1",)),
    ]
    assert tuple(sorted(one.port for one in told)) == plan.mouth_reach().ports
