import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_models.nms import CANDIDATE_LIMIT, kept_of, overlaps_of, strongest_of

boxes_strategy = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2)),
    max_size=40,
)


def world(rows: list[tuple[int, int, int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = np.array(rows, dtype=np.float32).reshape(-1, 5)
    boxes = values[:, :4].copy()
    boxes[:, 2:] += boxes[:, :2]
    scores = np.linspace(0.9, 0.1, len(rows), dtype=np.float32)
    return boxes, scores, values[:, 4].astype(np.int8)


def plain_overlap(one: np.ndarray, other: np.ndarray) -> float:
    wide = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    high = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return float(wide * high / (areas - wide * high))


@given(boxes_strategy)
def test_keeps_what_a_plain_loop_keeps(rows: list[tuple[int, int, int, int, int]]) -> None:
    boxes, scores, groups = world(rows)
    expected: list[int] = []
    for index in range(len(rows)):
        rivals = (kept for kept in expected if groups[kept] == groups[index])
        if all(plain_overlap(boxes[kept], boxes[index]) <= 0.5 for kept in rivals):
            expected.append(index)
    assert kept_of(boxes, scores, groups, 0.5).tolist() == expected


@given(boxes_strategy, st.randoms(use_true_random=False))
def test_does_not_depend_on_the_order_boxes_come_in(rows, shuffler) -> None:
    boxes, scores, groups = world(rows)
    order = list(range(len(rows)))
    shuffler.shuffle(order)
    shuffled = kept_of(boxes[order], scores[order], groups[order], 0.6)
    assert [order[index] for index in shuffled] == kept_of(boxes, scores, groups, 0.6).tolist()


@given(boxes_strategy)
def test_what_stays_does_not_overlap_and_what_goes_has_a_stronger_rival(rows) -> None:
    boxes, scores, groups = world(rows)
    kept = kept_of(boxes, scores, groups, 0.4)
    overlaps = overlaps_of(boxes, boxes[kept]) * (groups[:, None] == groups[kept][None, :])
    for index in range(len(rows)):
        others = overlaps[index][kept != index]
        if index in kept:
            assert (others <= 0.4).all()
        else:
            assert (overlaps[index][scores[kept] > scores[index]] > 0.4).any()


def test_an_empty_frame_keeps_nothing() -> None:
    assert kept_of(*world([]), 0.5).size == 0


def test_boxes_without_area_overlap_nothing() -> None:
    point = np.array([[5, 5, 5, 5]], dtype=np.float32)
    assert overlaps_of(point, point)[0, 0] == 0.0


@pytest.mark.parametrize("count", [0, 1, CANDIDATE_LIMIT, CANDIDATE_LIMIT + 1, 3 * CANDIDATE_LIMIT])
def test_only_the_strongest_candidates_are_compared(count: int) -> None:
    scores = np.random.default_rng(7).permutation(count).astype(np.float32)
    chosen = strongest_of(scores)
    assert sorted(scores[chosen]) == list(range(max(0, count - CANDIDATE_LIMIT), count))
