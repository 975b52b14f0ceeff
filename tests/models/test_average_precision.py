import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_builders import found_of, truth_of
from veilleur_models.average_precision import judge

PERSON = frozenset({0})
HERE = (0, 0, 10, 10)
THERE = (50, 50, 60, 60)
NOWHERE = (90, 90, 99, 99)


def test_a_perfect_answer_scores_one() -> None:
    judged = judge([truth_of((*HERE, 0))], [found_of((*HERE, 0, 0.9))], PERSON, 0.42)
    assert (judged.ap, judged.ap50, judged.precision, judged.recall) == (1.0, 1.0, 1.0, 1.0)


def test_a_case_worked_out_by_hand() -> None:
    """Two people; found: one (0.9), a wrong box (0.8), the other (0.7).

    Precision after each: 1, 1/2, 2/3 at recalls 1/2, 1/2, 1. The envelope is 1 up to recall 1/2 (51 of the 101 points:
    0.00 … 0.50) and 2/3 beyond (50 points), so AP50 = (51 + 50 × 2/3) / 101.
    """
    truth = truth_of((*HERE, 0), (*THERE, 0))
    found = found_of((*HERE, 0, 0.9), (*NOWHERE, 0, 0.8), (*THERE, 0, 0.7))
    judged = judge([truth], [found], PERSON, 0.75)
    assert judged.ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert judged.precision == pytest.approx(1 / 2)  # at 0.75 two are reported and one is right
    assert judged.recall == pytest.approx(1 / 2)


def test_ap_falls_with_loose_boxes() -> None:
    """A box that shares 0.72 of the union counts for 0.50 … 0.70: five of the ten overlaps."""
    judged = judge([truth_of((0, 0, 100, 100, 0))], [found_of((0, 0, 100, 72, 0, 0.9))], PERSON, 0.42)
    assert judged.ap50 == 1.0
    assert judged.ap == pytest.approx(0.5)


def test_one_object_is_found_once() -> None:
    judged = judge([truth_of((*HERE, 0))], [found_of((*HERE, 0, 0.9), (0, 0, 10, 9, 0, 0.8))], PERSON, 0.42)
    assert judged.precision == 0.5


def test_a_crowd_swallows_detections_for_neither_good_nor_bad() -> None:
    truth = truth_of((*HERE, 0), (40, 40, 80, 80, 0), crowds=(1,))
    found = found_of((*HERE, 0, 0.9), (50, 50, 55, 55, 0, 0.95), (60, 60, 70, 70, 0, 0.93))
    judged = judge([truth], [found], PERSON, 0.42)
    assert (judged.objects, judged.ap50, judged.precision, judged.recall) == (1, 1.0, 1.0, 1.0)


def test_a_detection_goes_to_a_real_object_before_a_crowd() -> None:
    truth = truth_of((0, 0, 40, 40, 0), (*HERE, 0), crowds=(0,))
    judged = judge([truth], [found_of((*HERE, 0, 0.9))], PERSON, 0.42)
    assert judged.recall == 1.0


def test_other_labels_do_not_count_unless_merged() -> None:
    truth, found = truth_of((*HERE, 1)), found_of((*HERE, 3, 0.9))
    assert judge([truth], [found], frozenset({1}), 0.42).recall == 0.0
    assert judge([truth], [found], frozenset({1, 3}), 0.42).ap == 1.0


def test_nothing_to_find_and_nothing_found_is_unknown_not_zero() -> None:
    judged = judge([truth_of()], [found_of()], PERSON, 0.42)
    assert (judged.ap, judged.ap50, judged.precision, judged.recall) == (None, None, None, None)


def test_nothing_found_where_something_is_scores_zero() -> None:
    judged = judge([truth_of((*HERE, 0))], [found_of()], PERSON, 0.42)
    assert (judged.ap, judged.recall, judged.precision) == (0.0, 0.0, None)


def test_scores_are_ranked_over_all_pictures() -> None:
    """The wrong box of the second picture outranks the right one of the first: precision 1/2 at recall 1/2."""
    truths = [truth_of((*HERE, 0)), truth_of((*HERE, 0))]
    founds = [found_of((*HERE, 0, 0.5)), found_of((*NOWHERE, 0, 0.9))]
    assert judge(truths, founds, PERSON, 0.42).ap50 == pytest.approx(51 / 2 / 101)


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 1)), max_size=8),
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 1), st.floats(0.05, 1)), max_size=12),
)
def test_figures_stay_between_none_and_all(objects, detections) -> None:
    truth = truth_of(*[(x * 5, y * 5, x * 5 + 9, y * 5 + 9, label) for x, y, label in objects])
    found = found_of(*[(x * 5, y * 5, x * 5 + 9, y * 5 + 9, label, score) for x, y, label, score in detections])
    judged = judge([truth], [found], PERSON, 0.42)
    for figure in (judged.ap, judged.ap50, judged.precision, judged.recall):
        assert figure is None or 0.0 <= figure <= 1.0 + 1e-9
    if judged.ap is not None and judged.ap50 is not None:
        assert judged.ap <= judged.ap50 + 1e-9
    assert judged.objects == int(np.sum(truth.labels == 0))
