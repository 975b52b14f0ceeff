"""The interval of a count holds what really crossed nine times in ten, and is no wider than that needs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_fleet.interval import Factors, interval_of

TIMES = 600


@pytest.mark.parametrize("truth", [0, 1, 5, 20, 100, 1000])
@pytest.mark.parametrize("validated_on", [20, 200, 2000])
@pytest.mark.parametrize(("recall", "precision"), [(0.98, 0.99), (0.9, 0.95), (0.7, 0.9)])
def test_holds_the_truth_nine_times_in_ten(truth, validated_on, recall, precision) -> None:
    """Both the validation and the count are drawn by chance; 0.85 is 0.9 less four standard errors of ``TIMES``."""
    rng = np.random.default_rng([truth, validated_on, round(recall * 100)])
    wrong = recall * (1 - precision) / precision
    held = 0
    for _ in range(TIMES):
        right, invented = rng.binomial(validated_on, recall), rng.poisson(validated_on * wrong)
        factors = Factors(round(1000 * right / validated_on), round(1000 * right / (right + invented)), validated_on)
        found = interval_of(int(rng.binomial(truth, recall) + rng.poisson(truth * wrong)), factors)
        assert found is not None
        held += found[0] <= truth <= found[1]
    assert held / TIMES >= 0.85


@pytest.mark.parametrize(
    ("count", "factors", "expected"),
    [
        pytest.param(0, Factors(1000, 1000, 5000), (0, 0), id="nothing-missed-nothing-there"),
        pytest.param(100, Factors(1000, 1000, 1_000_000), (100, 100), id="a-perfect-camera"),
        pytest.param(1000, Factors(500, 1000, 1_000_000), (1927, 2075), id="one-in-two-is-missed"),
        pytest.param(1000, Factors(1000, 500, 1_000_000), (474, 527), id="one-in-two-is-invented"),
        pytest.param(100, Factors(900, 950, 20), (86, 130), id="measured-on-little"),
    ],
)
def test_corrects_the_count_and_tells_how_far_to_trust_it(count, factors, expected) -> None:
    assert interval_of(count, factors) == pytest.approx(expected, abs=3)


def test_a_longer_validation_narrows_it() -> None:
    widths = [high - low for n in (20, 200, 2000) for low, high in [interval_of(500, Factors(900, 950, n))]]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 3 * widths[2]


@pytest.mark.parametrize("factors", [Factors(0, 0, 50), Factors(20, 1000, 50), Factors(900, 0, 50)])
def test_a_validation_that_found_nothing_right_gives_none(factors) -> None:
    assert interval_of(10, factors) is None


@given(st.integers(0, 1_000_000), st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1_000_000))
def test_is_in_order_and_never_below_nought(count, recall, precision, crossings) -> None:
    found = interval_of(count, Factors(recall, precision, crossings))
    if found is not None:
        low, high = found
        assert 0 <= low <= high


@given(st.integers(0, 10_000), st.integers(500, 1000), st.integers(500, 1000), st.integers(10, 10_000))
def test_more_counted_is_never_less_that_crossed(count, recall, precision, crossings) -> None:
    factors = Factors(recall, precision, crossings)
    less, more = interval_of(count, factors), interval_of(count + 1, factors)
    assert less is not None
    assert more is not None
    assert less[0] <= more[0]
    assert less[1] <= more[1]
