"""The demo as a user runs it, without its page being looked at."""

from pathlib import Path

import msgspec
import pytest

from journeys.town import descendants_of, is_there
from veilleur_models.settings import read_settings
from veilleur_simulator.processes import Child, module_command, wait_until
from veilleur_simulator.stage import FACES, ROAD_USERS, SPRITES

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]

WITHIN_S = 120.0


class Summary(msgspec.Struct, forbid_unknown_fields=True):
    """What ``make demo HEADLESS=1`` prints, and nothing beside it."""

    cameras: dict[str, dict[str, dict[str, dict[str, int]]]]
    lost: int
    duplicated: int
    fps: float
    first_count_s: float


@pytest.fixture(scope="module")
def cache() -> dict[str, str]:
    """Where built models are; skips where there are none, so that nothing is downloaded here."""
    for folder in (read_settings().cache, Path(__file__).parents[2] / ".cache" / "models"):
        if all((folder / name / "card.toml").is_file() for name in (ROAD_USERS, FACES, SPRITES)):
            return {"VEILLEUR_MODEL_CACHE": str(folder)}
    pytest.skip("the networks are not built: run 'make models' first")


def test_a_headless_demo_prints_one_summary_in_which_the_books_agree(
    tmp_path: Path, street_film: Path, cache: dict[str, str]
) -> None:
    options = ("--seconds", "10", "--headless", "--source", str(street_film))
    command = module_command("veilleur_simulator", "demo", *options)
    with Child("demo", command, tmp_path / "log", speaks=True, environment=cache) as demo:
        summary = msgspec.json.decode(demo.line(WITHIN_S), type=Summary)
        assert demo.wait(WITHIN_S) == 0, demo.told("the demo")
    cells = [cell for lines in summary.cameras.values() for labels in lines.values() for cell in labels.values()]
    assert cells
    assert all(cell["agent"] == cell["fleet"] > 0 for cell in cells)
    assert "avenue" in summary.cameras
    assert (summary.lost, summary.duplicated) == (0, 0)
    assert summary.fps > 5
    assert 0 < summary.first_count_s < 60


def test_ctrl_c_ends_everything_it_started(tmp_path: Path, street_film: Path, cache: dict[str, str]) -> None:
    command = module_command("veilleur_simulator", "demo", "--source", str(street_film))
    log = tmp_path / "log"
    with Child("demo", command, log, environment=cache) as demo:
        wait_until(lambda: b"Live counts" in log.read_bytes(), WITHIN_S, "the address of the page")
        started = set(descendants_of(demo.pid))
        assert len(started) >= 6, "a broker, a fleet, and two agents with an eye and a mouth each"
        demo.interrupt()
        assert demo.wait(WITHIN_S) == 0, demo.told("the demo")
        wait_until(lambda: not any(is_there(pid) for pid in started), WITHIN_S, "the end of all it started")
