"""From a count and how well the camera counts to what really crossed: the 90 % interval.

    true crossings of a validation: n, recall, precision ─▶ what is believed of both (Jeffreys)
    count ─▶ those of it that were true (beta-binomial) + those missed beside them (beta-negative-binomial) ─▶ low, high

The two moments of that sum are exact; its 5th and 95th percentile are those of the gamma distribution with the same
moments (Wilson and Hilferty, 1931). It holds as far as the hour that was validated is like the hours that are counted.
"""

import math
from dataclasses import dataclass
from typing import Final

Z: Final = 1.6448536
"""The 95th percentile of the normal distribution: nine in ten lie between minus and plus that."""

RIGHT_MIN: Final = 2
"""Crossings that must have been counted rightly: below it the variance of what is missed has no bound."""


@dataclass(frozen=True, slots=True)
class Factors:
    """How well one label of one camera is counted.

    Attributes:
        recall: Thousandths of the true crossings that were counted.
        precision: Thousandths of the counted crossings that were true.
        crossings: True crossings it was measured on.
    """

    recall: int
    precision: int
    crossings: int


def interval_of(count: int, factors: Factors) -> tuple[int, int] | None:
    """Return the least and the greatest number of true crossings that ``count`` stands for at 90 %.

    None when the validation found nothing right: then a count says nothing about the street.
    """
    right = factors.recall * factors.crossings / 1000
    if right < RIGHT_MIN or not factors.precision:
        return None
    missed, wrong = factors.crossings - right, right * (1000 - factors.precision) / factors.precision
    mean, variance = _moments(count, (right + 0.5, wrong + 0.5), (right + 0.5, missed + 0.5))
    shape = mean**2 / variance
    low, high = (mean * max(0.0, 1 - 1 / (9 * shape) + z / (3 * math.sqrt(shape))) ** 3 for z in (-Z, Z))
    return math.floor(low + 0.5), max(math.ceil(high - 0.5), math.floor(low + 0.5))


def _moments(count: int, precision: tuple[float, float], recall: tuple[float, float]) -> tuple[float, float]:
    """Return mean and variance of the true crossings; ``precision`` and ``recall`` are parameters of beta laws.

    With T of ``count`` true and q = (1 - recall) / recall, the missed are negative binomial with mean (T + 1/2) q; the
    half is Jeffreys' prior.
    """
    a, b = precision
    true = count * a / (a + b)
    true_spread = count * a * b * (a + b + count) / ((a + b) ** 2 * (a + b + 1))
    a, b = recall
    q, q_squared = b / (a - 1), b * (b + 1) / ((a - 1) * (a - 2))
    k = true + 0.5
    missed_spread = k * (q + q_squared) + (true_spread + k**2) * q_squared - (k * q) ** 2
    return true + k * q, true_spread * (1 + 2 * q) + missed_spread
