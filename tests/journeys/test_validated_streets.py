"""Validating a drawn street against its exact truth: perfect by day, and honest about a covered lens."""

from pathlib import Path

import pytest

from eye_builders import sprite_package
from journeys.town import film_of, scenario_of
from veilleur_agent.eye.validate import Clip, Noted, Score, TalliedLine, Tally, camera_of, crossings_in, scores_of
from veilleur_contracts.messages import Label
from veilleur_simulator.scenario import Scenario
from veilleur_simulator.truth import crossings_of

pytestmark = pytest.mark.soak


def tally_of(scenario: Scenario, film: Path) -> Tally:
    """The truth, as somebody with endless patience would have noted it."""
    fps, lines = scenario.street.fps, []
    for line in scenario.line:
        noted = tuple(
            Noted(one.label.name.lower(), one.direction.name.lower(), (int(one.at_s * fps), int(one.at_s * fps) + 1))
            for one in crossings_of(scenario, (line,))
        )
        lines.append(TalliedLine(line.id, line.start, line.end, crossing=noted))
    return Tally(tuple(lines), Clip(film.name, None, fps))


def scores(name: str, folder: Path) -> dict[Label, Score]:
    scenario = scenario_of(name)
    film = film_of(scenario, folder)
    tally = tally_of(scenario, film)
    crossings = crossings_in(film, camera_of(tally, film, 5.0), sprite_package())
    return scores_of(tally, crossings, scenario.street.fps)


def test_a_street_by_day_is_validated_as_perfect(tmp_path: Path) -> None:
    found = scores("street-day", tmp_path)
    assert sum(score.true for score in found.values()) > 50
    assert all(score.true == score.counted == score.right for score in found.values())
    validated = found[Label.CAR].validated
    assert validated is not None
    assert (validated.recall, validated.precision) == (1.0, 1.0)


def test_what_nobody_could_see_is_missed_and_nothing_is_invented(tmp_path: Path) -> None:
    scenario = scenario_of("street-covered")
    (fault,) = scenario.fault
    found = scores("street-covered", tmp_path)
    crossings = crossings_of(scenario, scenario.line)
    hidden = sum(fault.from_s <= one.at_s < fault.to_s for one in crossings)
    assert hidden > 10
    assert sum(score.true for score in found.values()) == len(crossings)
    assert sum(score.right for score in found.values()) == len(crossings) - hidden
    assert all(score.counted == score.right for score in found.values())
