from collections import deque

import pytest

from box_builders import HandClock
from veilleur_agent.mouth.pace import Pace, PaceLimits

LIMITS = PaceLimits()


def a_pace(clock: HandClock, chance: float = 1.0) -> Pace:
    pace = Pace(LIMITS, clock, lambda: chance)
    pace.restart(0)
    return pace


def room(pace: Pace, unanswered: int) -> int:
    return pace.allowed(unanswered).size_bytes


def wait_s(pace: Pace) -> float:
    return pace.allowed(0).again_in_s or 0.0


def test_what_a_street_says_from_day_to_day_never_waits() -> None:
    clock = HandClock()
    pace = a_pace(clock)
    for _ in range(200):
        assert room(pace, 0) >= LIMITS.start_bytes
        pace.sent(LIMITS.start_bytes, 0)
        clock.advance(60)
        pace.answered(0.05)


def test_no_more_goes_out_than_may_be_unanswered() -> None:
    pace = a_pace(HandClock())
    assert [room(pace, unanswered) for unanswered in (0, 4000, 4096, 9000)] == [4096, 96, 0, 0]


def test_an_answer_that_is_missing_for_long_lets_one_more_batch_go_whose_answer_counts_for_both() -> None:
    clock = HandClock()
    pace = a_pace(clock)
    pace.answered(0.8)
    clock.advance(wait_s(pace))
    pace.sent(4096, 0)
    clock.advance(1.5)
    assert room(pace, 4096) == 0
    clock.advance(0.2)
    assert room(pace, 4096) == LIMITS.least_bytes
    pace.sent(LIMITS.least_bytes, 4096)
    clock.advance(0.1)
    assert room(pace, 4096 + LIMITS.least_bytes) == 0


def test_while_nothing_is_answered_each_wait_is_twice_as_long_as_the_one_before_and_an_answer_ends_that() -> None:
    clock = HandClock()
    pace = a_pace(clock)
    pace.answered(0.02)
    pace.sent(4096, 0)
    waits = list[float]()
    for _ in range(8):
        before_s = clock.at_s
        while not room(pace, 4096):
            clock.advance(pace.allowed(4096).again_in_s or 0.0)
        waits.append(clock.at_s - before_s)
        pace.sent(LIMITS.least_bytes, 4096)
    assert waits == [LIMITS.probe_s * factor for factor in (1, 2, 4, 8, 16, 32, 32, 32)]
    clock.advance(wait_s(pace))
    pace.answered(0.02)
    pace.sent(4096, 0)
    assert (pace.allowed(4096).again_in_s or 0) <= LIMITS.probe_s


def test_answers_that_come_soon_allow_more_up_to_a_whole_batch_and_a_quarter_of_the_fleet() -> None:
    clock, sent = HandClock(), 0
    pace = a_pace(clock)
    while sent < 1_000_000:
        clock.advance(wait_s(pace) or 0.02)
        size = room(pace, 0)
        pace.sent(size, 0)
        sent += size
        pace.answered(0.02)
    assert pace.window_bytes == LIMITS.most_bytes
    assert 0.7 * LIMITS.bytes_s < sent / clock.at_s <= LIMITS.bytes_s * 1.05


def test_a_late_answer_halves_it_once_a_round_and_rests_and_silence_halves_it_too() -> None:
    clock = HandClock()
    pace = a_pace(clock, chance=0.5)
    clock.advance(3)
    for _ in range(5):
        pace.answered(2.0)
    assert pace.window_bytes == LIMITS.start_bytes // 2
    assert wait_s(pace) == 1.0
    for _ in range(20):
        pace.slower()
    assert pace.window_bytes == LIMITS.least_bytes


@pytest.mark.parametrize(
    ("failures", "chance", "begins_s"), [(0, 1.0, 0.0), (4, 0.5, 2.0), (4, 0.0, 0.0), (1000, 1.0, 30.0)]
)
def test_after_a_long_outage_each_box_begins_at_a_moment_of_its_own(failures, chance, begins_s) -> None:
    clock = HandClock()
    pace = a_pace(clock, chance)
    pace.restart(failures)
    assert wait_s(pace) == begins_s
    clock.advance(begins_s)
    assert room(pace, 0) == LIMITS.start_bytes


def test_twelve_hundred_boxes_that_come_back_at_once_keep_the_line_before_the_fleet_short() -> None:
    """Boxes with 50 kB each against a fleet that stores 2 MB/s: half a minute of work, never in one heap."""
    clock, capacity = HandClock(), 2_000_000.0
    paces = []
    for n in range(1200):
        paces.append(Pace(LIMITS, clock, lambda n=n: n / 1200))
        paces[-1].restart(60)
    left, unanswered = [50_000] * 1200, [0] * 1200
    queue, longest, waiting = 0.0, 0.0, deque[tuple[float, float, int, int]]()
    while any(left):
        clock.advance(0.25)
        queue = max(0.0, queue - capacity * 0.25)
        while waiting and waiting[0][0] <= clock.at_s:
            _, sent_at_s, n, size = waiting.popleft()
            unanswered[n] -= size
            paces[n].answered(clock.at_s - sent_at_s)
        for n, pace in enumerate(paces):
            size = min(left[n], room(pace, unanswered[n]))
            if size:
                pace.sent(size, unanswered[n])
                left[n], unanswered[n], queue = left[n] - size, unanswered[n] + size, queue + size
                waiting.append((clock.at_s + queue / capacity, clock.at_s, n, size))
        longest = max(longest, queue / capacity)
        assert clock.at_s < 300
    assert longest < 5, "seconds of work before the fleet; in one heap it would be 30"
    assert clock.at_s < 120, "at least half of what the fleet can do is done"
