"""Rendered streets through the real detector, tracker and line counter, against a truth nobody had to count."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from journeys.town import film_of, scenario_of
from veilleur_agent.eye.count import CountReport, count_source
from veilleur_models.package import ModelPackage, load
from veilleur_simulator.scenario import Scenario
from veilleur_simulator.truth import TrueCrossing, crossings_of, tally_of

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def detector(models: Path) -> ModelPackage:
    return load(models / "sprite")


def half_of(scenario: Scenario) -> Scenario:
    """The first half minute is enough for a gate; benchmarks play the whole."""
    return replace(scenario, street=replace(scenario.street, seconds=30.0))


def counted(scenario: Scenario, detector: ModelPackage, folder: Path, fps: float = 5.0) -> CountReport:
    outcome = count_source(str(film_of(scenario, folder)), scenario.line, detector, fps=fps)
    assert outcome.fault is None
    return outcome.report


def without_zeros(report: CountReport) -> dict[str, dict[str, dict[str, int]]]:
    return {
        line: {
            label: {"left_to_right": ways.left_to_right, "right_to_left": ways.right_to_left}
            for label, ways in labels.items()
            if ways.left_to_right or ways.right_to_left
        }
        for line, labels in report.lines.items()
    }


def total_of(tally: Mapping[str, Mapping[str, Mapping[str, int]]]) -> int:
    return sum(n for labels in tally.values() for ways in labels.values() for n in ways.values())


@pytest.mark.parametrize("name", ["street-day", "street-night", "street-rain", "street-occluded", "street-busy"])
def test_counts_a_rendered_street_exactly(name: str, detector: ModelPackage, tmp_path: Path) -> None:
    scenario = half_of(scenario_of(name))
    truth = tally_of(crossings_of(scenario, scenario.line))
    assert total_of(truth) > 30
    assert without_zeros(counted(scenario, detector, tmp_path)) == truth


def test_counts_nothing_while_the_camera_is_covered(detector: ModelPackage, tmp_path: Path) -> None:
    scenario = scenario_of("street-covered")
    (fault,) = scenario.fault

    def is_seen(one: TrueCrossing) -> bool:
        return not fault.from_s <= one.at_s < fault.to_s

    crossings = crossings_of(scenario, scenario.line)
    hidden = [one for one in crossings if not is_seen(one)]
    assert len(hidden) > 10
    assert without_zeros(counted(scenario, detector, tmp_path)) == tally_of(filter(is_seen, crossings))
