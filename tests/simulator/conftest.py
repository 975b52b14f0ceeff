from pathlib import Path

import pytest

from simulator.streets import street
from veilleur_simulator.film import write_film
from veilleur_simulator.scenario import User
from veilleur_simulator.street import Street


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of somebody walking, 25 pictures."""
    path = tmp_path_factory.mktemp("film") / "walker.mp4"
    write_film(Street(street(seconds=1.0, fps=25.0, user=(User("person", ((-2.0, 8.0), (2.0, 8.0))),))), path)
    return path
