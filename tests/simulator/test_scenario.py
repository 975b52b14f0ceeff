from pathlib import Path

import pytest

from veilleur_simulator.errors import ScenarioRejectedError
from veilleur_simulator.scenario import parse_scenario, read_scenario

SCENARIOS = sorted((Path(__file__).parents[2] / "simulator/scenarios").glob("*.toml"))
HEAD = '[street]\nname = "small"\nseconds = 5\n'


def user(path: str, more: str = "") -> str:
    return f'{HEAD}[[user]]\nlabel = "person"\npath = {path}\n{more}'


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_that_is_shipped_can_be_read_and_bears_the_name_of_its_file(path: Path) -> None:
    assert read_scenario(path).street.name == path.stem


def test_the_shipped_scenarios_are_there() -> None:
    names = {path.stem for path in SCENARIOS}
    assert {"street-day", "street-night", "street-rain", "street-occluded", "street-nudged", "street-stays"} <= names


@pytest.mark.parametrize(
    ("text", "part"),
    [
        pytest.param("[street", "is not TOML", id="not-toml"),
        pytest.param('[street]\nname = "a"', "seconds", id="missing-key"),
        pytest.param(HEAD + "colour = 3", "colour", id="unknown-key"),
        pytest.param(HEAD + "width = 641", "width", id="odd-width"),
        pytest.param(HEAD.replace("= 5", "= -5"), "seconds", id="no-time"),
        pytest.param(user("[[0, 10]]"), "path", id="one-point"),
        pytest.param(user("[[0, 10], [0, 10]]"), "two points in a row", id="no-move"),
        pytest.param(user("[[0, 10], [0, -30]]"), "behind the camera", id="behind"),
        pytest.param(user("[[0, 10], [1, 10]]", "speed_mps = 0"), "speed_mps", id="no-speed"),
        pytest.param(user("[[0, 10], [1, 10]]").replace("person", "dragon"), "label", id="unknown-label"),
        pytest.param(HEAD + "[[line]]\nid='a'\nfrom=[0.5,0.5]\nto=[0.5,0.5]", "no length", id="no-line"),
        pytest.param(HEAD + "[[line]]\nid='a'\nfrom=[0,0.5]\nto=[1,0.5]\n" * 2, "bear the same id", id="line-twice"),
        pytest.param(HEAD + "[[fault]]\nkind='dark'\nfrom_s=3\nto_s=2", "to_s is later", id="backwards"),
        pytest.param(HEAD + "[[light]]\nat_s=3\ngain=1\n[[light]]\nat_s=2\ngain=1", "must rise", id="light-backwards"),
    ],
)
def test_refuses_what_cannot_be_played_and_says_where(text: str, part: str) -> None:
    with pytest.raises(ScenarioRejectedError, match=part):
        parse_scenario(text.encode(), "small.toml")


def test_says_which_scenario_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ScenarioRejectedError, match=r"cannot read scenario .*none\.toml"):
        read_scenario(tmp_path / "none.toml")


def test_refuses_a_scenario_without_end(tmp_path: Path) -> None:
    endless = tmp_path / "endless.toml"
    endless.write_bytes(b"#" * 300_000)
    with pytest.raises(ScenarioRejectedError, match="longer than"):
        read_scenario(endless)
