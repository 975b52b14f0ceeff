"""From a picture to the fleet's store and a consumer's ledger, with real processes and a real broker."""

from pathlib import Path

import pytest

from journeys.town import WITHIN_S, Town, scenario_of, site_of
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.messages import CameraState
from veilleur_simulator.processes import wait_until
from veilleur_simulator.truth import crossings_of

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]

SETTLES_WITHIN_S = 15.0
KILLS = 2


def test_one_cyclist_is_counted_once(town: Town, cyclist_film: Path) -> None:
    scenario = scenario_of("street-cyclist")
    assert len(crossings_of(scenario, scenario.line)) == 1
    with town.ledger(SystemClock()) as ledger:
        box = town.box(site_of(str(cyclist_film)))
        wait_until(lambda: CameraState.ENDED in town.states(), WITHIN_S, "the end of the film")
        box.end()
        wait_until(lambda: town.balance([box], ledger.books()).is_even, SETTLES_WITHIN_S, "an even balance")
        balance, books = town.balance([box], ledger.books()), ledger.books()
    assert balance.agent == balance.fleet == {"avenue": {"middle": {"bicycle": 1}}}
    assert (balance.lost, balance.duplicated, books.refused, books.crossings) == (0, 0, 0, 1)
    assert sum(count or 0 for window in town.windows() for count in window.counts) == 1


def test_a_broker_kill_9_loses_nothing(town: Town, street_film: Path) -> None:
    box = town.box(site_of(str(street_film), loop=True))
    for _ in range(KILLS):
        before = town.total()
        wait_until(lambda before=before: town.total() > before, WITHIN_S, "more crossings in the store")
        town.broker.kill()
        counted = box.crossings()
        wait_until(
            lambda counted=counted: box.crossings() > counted, WITHIN_S, "more crossings counted without a broker"
        )
        town.broker.start()
    stored = town.total()
    wait_until(lambda: town.total() > stored, WITHIN_S, "crossings stored after the last kill")
    box.end()
    wait_until(lambda: town.balance([box]).is_even, SETTLES_WITHIN_S, "an even balance")
    assert town.balance([box]).crossings > 5


def test_a_mouth_kill_9_loses_nothing(town: Town, street_film: Path) -> None:
    box = town.box(site_of(str(street_film), loop=True))
    for _ in range(KILLS):
        before = town.total()
        wait_until(lambda before=before: town.total() > before, WITHIN_S, "more crossings in the store")
        box.kill_part("mouth")
    before = town.total()
    wait_until(lambda: town.total() > before, WITHIN_S, "more crossings in the store")
    box.end()
    wait_until(lambda: town.balance([box]).is_even, SETTLES_WITHIN_S, "an even balance")
    assert town.balance([box]).crossings > 5
    streams = {stream for _, stream, _ in town.stored()}
    assert len(streams) > 2 * KILLS, "each start of the mouth speaks on streams of its own"
