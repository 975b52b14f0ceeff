from collections import Counter
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_agent.mouth.coarsen import COUNT_MAX, STEPS, Row, Step, coarsened, gap_row
from veilleur_contracts.codec import decode_record, encode
from veilleur_contracts.messages import (
    Context,
    CrossingWindow,
    Gap,
    GapReason,
    ObjectWindow,
    OccupancyWindow,
    Record,
    RollUp,
    StayWindow,
)

T0 = 1_790_000_000 // 86_400 * 86_400
HOUR = Step(3600)


def window(n: int, *counts: int | None, line: int = 0, quality: int = 0, coverage: int = 100) -> CrossingWindow:
    """The n-th quarter of an hour of a day."""
    return CrossingWindow(1, T0 + 900 * n, 900, line, coverage, 50, quality, counts)


def rows_of(records: Iterable[Record]) -> list[Row]:
    return [Row(n, n, is_gap=False, at_running_s=n, body=encode(one)) for n, one in enumerate(records, start=1)]


def said(rows: Iterable[Row]) -> list[Record]:
    return [decode_record(row.body) for row in rows]


def test_an_hour_of_windows_becomes_one_in_the_place_of_the_last() -> None:
    rows = coarsened(rows_of([window(0, 12), window(1, 7), window(2, 0), window(3, 4, coverage=60)]), HOUR)
    assert said(rows) == [Gap(1, 3, GapReason.COARSENED), CrossingWindow(1, T0, 3600, 0, 90, 50, 0, (23,))]
    assert [(row.seq, row.last) for row in rows] == [(1, 3), (4, 4)]


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([window(0, 1), window(1, 1), window(2, 1)], id="not-whole"),
        pytest.param([window(1, 1), window(2, 1), window(3, 1), window(4, 1)], id="across-two-hours"),
        pytest.param([window(0, 8), window(1, None), window(2, 12), window(3, None)], id="one-withheld-the-other-told"),
        pytest.param([window(0, 1), window(1, 1), window(2, 1, quality=2), window(3, 1)], id="not-of-one-quality"),
        pytest.param([window(0, None), window(1, None), window(2, None), window(3, None, coverage=0)], id="not-seen"),
        pytest.param([window(0, COUNT_MAX), window(1, 1), window(2, 1), window(3, 1)], id="out-of-bounds"),
        pytest.param([window(0, 1), window(1, 1), window(1, 1), window(2, 1), window(3, 1)], id="one-twice"),
        pytest.param([OccupancyWindow(1, T0 + 900 * n, 900, 0, 100, 0, (1, 2)) for n in range(4)], id="percentiles"),
        pytest.param([RollUp(1, T0 + 900 * n, 900, 0, 0, 0, 7) for n in range(4)], id="roll-ups"),
    ],
)
def test_what_has_no_exact_sum_stays_as_it_is(records: list[Record]) -> None:
    rows = rows_of(records)
    assert coarsened(rows, HOUR) == rows


def test_a_cell_withheld_all_hour_stays_withheld_and_its_neighbour_is_summed() -> None:
    (_, hour) = said(coarsened(rows_of([window(n, None, 10) for n in range(4)]), HOUR))
    assert hour == CrossingWindow(1, T0, 3600, 0, 100, 50, 0, (None, 40))


def test_nothing_that_withholds_is_summed_beyond_the_hour_of_its_roll_up() -> None:
    day = Step(86_400, told_only=True)
    hours = [CrossingWindow(1, T0 + 3600 * n, 3600, 0, 100, 50, 0, (None, 1)) for n in range(24)]
    assert coarsened(rows_of(hours), day) == rows_of(hours)
    told = [msgspec.structs.replace(one, counts=(2, 1)) for one in hours]
    assert said(coarsened(rows_of(told), day))[-1] == CrossingWindow(1, T0, 86_400, 0, 100, 50, 0, (48, 24))


def test_stays_and_object_time_are_summed_too() -> None:
    stays = [StayWindow(1, T0 + 900 * n, 900, 0, 100, 0, 2, (1, 0, 2), 30) for n in range(4)]
    lain = [ObjectWindow(1, T0 + 900 * n, 900, 0, 100, 0, 900) for n in range(4)]
    mixed = [one for pair in zip(stays, lain, strict=True) for one in pair]
    assert said(coarsened(rows_of(mixed), HOUR)) == [
        Gap(1, 6, GapReason.COARSENED),
        StayWindow(1, T0, 3600, 0, 100, 0, 2, (4, 0, 8), 120),
        ObjectWindow(1, T0, 3600, 0, 100, 0, 3600),
    ]


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([ObjectWindow(1, T0 + 900 * n, 900, 0, 100, 0, 9_000_000) for n in range(4)], id="lain"),
        pytest.param([StayWindow(1, T0 + 900 * n, 900, 0, 100, 0, 2, (1,), 9_000_000) for n in range(4)], id="over"),
    ],
)
def test_a_sum_that_no_record_could_say_is_not_made(records: list[Record]) -> None:
    assert coarsened(rows_of(records), HOUR) == rows_of(records)


def test_windows_in_which_nothing_was_seen_become_an_hour_in_which_nothing_was() -> None:
    (_, hour) = said(coarsened(rows_of([window(n, None, coverage=0) for n in range(4)]), HOUR))
    assert hour == CrossingWindow(1, T0, 3600, 0, 0, 0, 0, (None,))


def test_gaps_of_another_reason_keep_it() -> None:
    rows = rows_of([window(n, 1) for n in range(4)])
    full = gap_row(1, 9, GapReason.OUTBOX_FULL, 0)
    moved = [Row(row.seq + 9, row.last + 9, row.is_gap, row.at_running_s, row.body) for row in rows]
    assert said(coarsened([full, *moved], HOUR))[:2] == [
        Gap(1, 9, GapReason.OUTBOX_FULL),
        Gap(10, 12, GapReason.COARSENED),
    ]


CELL = st.one_of(st.none(), st.integers(0, 40))


@given(st.lists(st.tuples(st.tuples(CELL, CELL), st.sampled_from([100, 100, 100, 90, 0])), min_size=1, max_size=200))
def test_whatever_was_said_the_sums_of_each_hour_and_what_is_withheld_in_it_stay_exactly_the_same(
    cells: list[tuple[tuple[int | None, int | None], int]],
) -> None:
    records: list[Record] = [
        window(n, *(pair if seen else (None, None)), coverage=seen) for n, (pair, seen) in enumerate(cells)
    ]
    context = Context("gare", "30189", "0" * 16, "1" * 16, "2" * 16, (0,), ("kerb",), ())
    rows = before = rows_of([context, *records])
    for step in STEPS:
        rows = coarsened(rows, step)
        assert coarsened(rows, step) == rows
        assert [row.seq for row in rows] == [1, *(row.last + 1 for row in rows[:-1])]
        assert rows[-1].last == before[-1].last
    assert sums_of(rows) == sums_of(before)
    assert said(rows)[0] == context
    windows = [one for one in said(rows) if isinstance(one, CrossingWindow)]
    assert all(one.window_s <= 3600 for one in windows if None in one.counts)
    assert all(3600 % one.window_s == 0 or one.window_s == 86_400 for one in windows)


def sums_of(rows: Iterable[Row]) -> tuple[Counter[int], Counter[tuple[int, int]]]:
    """Told crossings of each cell, and for each hour and cell whether something is withheld in it."""
    told, withheld = Counter[int](), Counter[tuple[int, int]]()
    for one in said(rows):
        for cell, count in enumerate(one.counts if isinstance(one, CrossingWindow) else ()):
            if count is None:
                withheld[one.at_s // 3600, cell] = 1
            else:
                told[cell] += count
    return told, withheld
