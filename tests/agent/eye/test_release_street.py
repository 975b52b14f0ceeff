"""What one object did, and how a road stands, leave the eye only where the policy says so."""

import itertools

import numpy as np
import pytest

from veilleur_agent.eye.release_street import (
    LAIN_MAX_S,
    PERMITTED_AS,
    event_record,
    may_tell_event,
    may_tell_road,
    object_records,
)
from veilleur_agent.eye.windows import Window
from veilleur_contracts.codec import decode_record, encode_record
from veilleur_contracts.messages import EventKind, MessageClass, ObjectWindow, Quality, StreetEvent
from veilleur_contracts.policy import BENCH, STOPPED, STRICTEST, AggregateKind, Permissions
from veilleur_contracts.policy import EventKind as PermittedKind

T0 = 1_790_000_400_000
WINDOW = Window(T0, 1_200_000, np.zeros((1, 3, 2), np.int64), 0.97, 5.0, Quality.GATED)
UNSEEN = Window(T0, 1_200_000, None, 0.0, 0.0, Quality.LOW_COVERAGE)
ALL = frozenset(MessageClass)
STATISTICS = frozenset({MessageClass.TECHNICAL, MessageClass.STATISTICS})


def allowing(
    classes: frozenset[MessageClass],
    events: frozenset[PermittedKind] = frozenset(),
    aggregates: frozenset[AggregateKind] = frozenset(),
) -> Permissions:
    return Permissions("signed", classes, events=events, aggregates=aggregates)


@pytest.mark.parametrize("kind", list(EventKind))
@pytest.mark.parametrize(
    ("permissions", "others"),
    [
        pytest.param(STRICTEST, False, id="strictest"),
        pytest.param(STOPPED, False, id="stopped"),
        pytest.param(allowing(ALL), False, id="the-class-without-a-kind"),
        pytest.param(allowing(STATISTICS, frozenset(PermittedKind)), False, id="kinds-without-the-class"),
        pytest.param(allowing(ALL, frozenset(PermittedKind)), True, id="class-and-kinds"),
        pytest.param(BENCH, True, id="bench"),
    ],
)
def test_an_event_is_told_only_under_its_class_and_kind(kind, permissions, others) -> None:
    told = event_record(7, kind, 3, (T0 - 200_000, T0), permissions, over=False)
    assert (told is not None) is others
    if told is not None:
        assert told == StreetEvent(7, T0 // 1000, kind, 3, T0 // 1000 - 200, 0)
        assert decode_record(encode_record(told)) == told


@pytest.mark.parametrize(("kind", "permitted"), list(itertools.product(EventKind, PermittedKind)))
def test_an_authorisation_for_one_kind_opens_no_other(kind, permitted) -> None:
    permissions = allowing(ALL, frozenset({permitted}))
    assert may_tell_event(kind, permissions) is (PERMITTED_AS[kind] is permitted)


def test_every_kind_has_one_name_in_an_authorisation() -> None:
    assert set(PERMITTED_AS) == set(EventKind)
    assert set(PERMITTED_AS.values()) == set(PermittedKind)


@pytest.mark.parametrize(
    ("permissions", "window_s", "expected"),
    [
        pytest.param(STRICTEST, 3600, False, id="strictest"),
        pytest.param(allowing(ALL), 3600, False, id="the-class-without-a-visa"),
        pytest.param(
            allowing(STATISTICS, aggregates=frozenset(AggregateKind)), 3600, False, id="a-visa-without-the-class"
        ),
        pytest.param(allowing(ALL, aggregates=frozenset({AggregateKind.CROWD_BAND})), 3600, False, id="another-visa"),
        pytest.param(allowing(ALL, aggregates=frozenset({AggregateKind.ROAD_STATE})), 299, False, id="too-short"),
        pytest.param(allowing(ALL, aggregates=frozenset({AggregateKind.ROAD_STATE})), 300, True, id="permitted"),
        pytest.param(BENCH, 5, True, id="bench"),
    ],
)
def test_the_state_of_a_road_is_told_only_with_a_visa_and_over_long_enough(permissions, window_s, expected) -> None:
    assert may_tell_road(window_s, permissions) is expected


@pytest.mark.parametrize(
    ("permissions", "window", "expected"),
    [
        pytest.param(STRICTEST, WINDOW, [0, 1260], id="statistics"),
        pytest.param(STOPPED, WINDOW, [], id="stopped"),
        pytest.param(STRICTEST, UNSEEN, [], id="not-observed-is-no-nought"),
    ],
)
def test_object_time_is_a_statistic_of_its_zones(permissions, window, expected) -> None:
    records = object_records(7, window, {2: 1_260_400, 5: 99_000}, (0, 2), permissions)
    assert [record.lain_s for record in records] == expected
    for record in records:
        assert isinstance(record, ObjectWindow)
        assert (record.coverage, record.quality) == (97, int(Quality.GATED))
        assert decode_record(encode_record(record)) == record


def test_object_time_keeps_within_the_wire() -> None:
    (record,) = object_records(7, WINDOW, {0: 10**15}, (0,), STRICTEST)
    assert record.lain_s == LAIN_MAX_S
