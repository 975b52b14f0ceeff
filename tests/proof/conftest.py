from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

from journeys.town import film_of, scenario_of
from model_builders import built_sprite
from proof.table import Proofs

PROOFS = pytest.StashKey[Proofs]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[PROOFS] = Proofs()


def pytest_terminal_summary(config: pytest.Config) -> None:
    proofs = config.stash[PROOFS]
    if proofs.rows:
        proofs.show(Console(width=132))


@pytest.fixture
def proofs(request: pytest.FixtureRequest) -> Proofs:
    return request.config.stash[PROOFS]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_sprite(tmp_path_factory.mktemp("models")).folder


@pytest.fixture(scope="session")
def canary_film(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The busy street without noise, so that the canary has the same bytes in every frame."""
    plain = scenario_of("street-cyclist")
    scenario = replace(plain, street=replace(plain.street, name="canary", canary=True, noise=0.0))
    return film_of(scenario, tmp_path_factory.mktemp("canary"), lossless=True)
