import pytest

from fleet_builders import HandClock
from veilleur_fleet.store.database import open_database
from veilleur_fleet.store.ledger import Ledger


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def database(tmp_path, clock):
    with open_database(tmp_path / "fleet", clock) as opened:
        yield opened


@pytest.fixture
def ledger(database):
    return Ledger(database.writer)


@pytest.fixture
def ask(database):
    """Ask the database in SQL, past every line of ours."""
    return lambda sql, *values: database.writer.execute(sql, values).fetchall()
