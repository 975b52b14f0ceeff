from collections.abc import Iterator
from pathlib import Path

import pytest

from journeys.town import Town, film_of, scenario_of
from model_builders import built_sprite


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sprite detector, built here: nothing is downloaded."""
    return built_sprite(tmp_path_factory.mktemp("models")).folder


@pytest.fixture(scope="session")
def street_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_of(scenario_of("street-busy"), tmp_path_factory.mktemp("street"))


@pytest.fixture(scope="session")
def cyclist_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_of(scenario_of("street-cyclist"), tmp_path_factory.mktemp("cyclist"))


@pytest.fixture
def town(tmp_path: Path, models: Path) -> Iterator[Town]:
    with Town(tmp_path, models) as one:
        yield one
