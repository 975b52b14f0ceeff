"""Every kind of record is stored, waits for its Context where it names one, and finds its way to consumers."""

import msgspec
import pytest

from fleet_builders import NOW_MS, Box, context
from veilleur_contracts import messages as m
from veilleur_contracts.codec import context_number_of, decode_published, encode
from veilleur_contracts.examples import EXAMPLES
from veilleur_fleet.store.kinds import NAME_OF, TAG_OF, OfContext
from veilleur_fleet.store.outgoing import Outgoings

PLACE = msgspec.structs.replace(context(lines=("kerb", "gate")), zones=("bay",))
NUMBER = context_number_of(PLACE)
AT_S = NOW_MS // 1000 - 10
KINDS = list(m.AnyRecord.__args__)


def of_place(kind: type[m.Record]) -> m.Record:
    """The example of ``kind``, as ``PLACE`` would say it."""
    example = EXAMPLES[kind]
    return msgspec.structs.replace(example, context=NUMBER) if kind in OfContext.__args__ else example


def validation(*factors: int | None, of: m.Context = PLACE) -> m.Validation:
    every = (*factors, *(None,) * (18 - len(factors)))
    return m.Validation(context_number_of(of), every)


def test_every_kind_has_a_tag_and_a_name_of_its_own() -> None:
    assert set(TAG_OF) == set(NAME_OF) == set(KINDS)
    assert len(set(NAME_OF.values())) == len(set(TAG_OF.values())) == len(KINDS)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not m.Gap], ids=lambda kind: kind.__name__)
def test_every_kind_is_stored_and_told_to_consumers(ledger, ask, database, kind) -> None:
    box = Box()
    ledger.store([box.says(PLACE)])
    ledger.store([box.says(of_place(kind))])
    assert ask("SELECT count(*) FROM quarantine") == [(0,)]
    assert ask("SELECT tag FROM records ORDER BY position DESC LIMIT 1") == [(TAG_OF[kind],)]
    ((shard, _, _),) = Outgoings(database.readers).behind()
    told = Outgoings(database.readers).after(shard, 0)[-1]
    assert told.topic.endswith(f"/{NAME_OF[kind]}")
    assert f"/out/{m.CLASS_OF[kind].value}/" in told.topic
    assert bytes(decode_published(told.payload).record) == encode(of_place(kind))


@pytest.mark.parametrize("kind", OfContext.__args__, ids=lambda kind: kind.__name__)
def test_what_names_a_context_waits_for_it(ledger, ask, kind) -> None:
    box = Box()
    ledger.store([box.says(of_place(kind))])
    assert ask("SELECT count(*) FROM waiting") == [(1,)]
    later = ledger.store([box.says(PLACE)])
    assert later.resolved == 1
    assert ask("SELECT tag FROM records ORDER BY position") == [(TAG_OF[m.Context],), (TAG_OF[kind],)]


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(m.RollUp(NUMBER, AT_S, 3600, 2, 0, 0, 7), id="roll-up-of-no-line"),
        pytest.param(m.OccupancyWindow(NUMBER, AT_S, 900, 1, 100, 0, (0,) * 12), id="occupancy-of-no-zone"),
        pytest.param(m.OccupancyWindow(NUMBER, AT_S, 900, 0, 100, 0, (0,) * 10), id="occupancy-of-too-few"),
        pytest.param(m.StayWindow(NUMBER, AT_S, 900, 1, 100, 0, 2, (0,) * 8, 0), id="stays-in-no-zone"),
        pytest.param(m.ObjectWindow(NUMBER, AT_S, 900, 1, 100, 0, 0), id="objects-in-no-zone"),
        pytest.param(m.SpeedWindow(NUMBER, AT_S, 900, 2, 0, 0, (None,) * 3), id="speeds-over-no-line"),
        pytest.param(m.RoadState(NUMBER, AT_S, 300, 1, 0, 0, 0, 0), id="road-that-is-none"),
        pytest.param(m.StreetEvent(NUMBER, AT_S, m.EventKind.STANDING_VEHICLE, 1, AT_S, 0), id="event-in-no-zone"),
        pytest.param(m.StreetEvent(NUMBER, AT_S, m.EventKind.WRONG_WAY, 2, AT_S, 1), id="wrong-way-over-no-line"),
        pytest.param(m.Validation(NUMBER, (900, 900, 50)), id="validation-of-too-few-labels"),
    ],
)
def test_what_does_not_fit_its_context_is_refused(ledger, ask, record) -> None:
    box = Box()
    ledger.store([box.says(PLACE), box.says(record)])
    ((reason,),) = ask("SELECT reason FROM quarantine")
    assert reason == f"{type(record).__name__}: it does not fit its Context"


def test_a_wrong_way_names_a_line_though_there_is_but_one_zone(ledger, ask) -> None:
    box = Box()
    ledger.store([box.says(PLACE), box.says(m.StreetEvent(NUMBER, AT_S, m.EventKind.WRONG_WAY, 1, AT_S, 1))])
    assert ask("SELECT count(*) FROM quarantine") == [(0,)]


def test_a_label_that_the_context_does_not_count_is_refused(ledger, ask) -> None:
    cars = msgspec.structs.replace(PLACE, labels=(2,))
    box = Box()
    stay = m.StayWindow(context_number_of(cars), AT_S, 900, 0, 100, 0, 0, (0,) * 8, 0)
    ledger.store([box.says(cars, stay)])
    assert ask("SELECT count(*) FROM quarantine") == [(1,)]


def test_the_view_of_a_camera_is_the_last_one_told(ledger, ask) -> None:
    box = Box()
    ledger.store([box.says(m.ViewAlarm("gare-parvis", AT_S, m.ViewFault.MOVED, 34))])
    assert ask("SELECT camera, view_at_s, view_faults FROM cameras") == [("gare-parvis", AT_S, 8)]
    ledger.store([box.says(m.ViewAlarm("gare-parvis", AT_S + 5, 0, 0))])
    ledger.store([box.says(m.ViewAlarm("gare-parvis", AT_S - 5, m.ViewFault.DARK, 0))])
    assert ask("SELECT view_at_s, view_faults FROM cameras") == [(AT_S + 5, 0)]


def test_a_camera_is_as_valid_as_it_last_said(ledger, ask) -> None:
    box = Box()
    ledger.store([box.says(PLACE, validation(900, 950, 40, None, None, None, 990, 980, 300))])
    assert ask("SELECT label_no, recall, precision, crossings FROM validations") == [
        (0, 900, 950, 40),
        (2, 990, 980, 300),
    ]
    ledger.store([box.says(PLACE, validation(910, 950, 80))])
    assert ask("SELECT label_no, recall, precision, crossings FROM validations") == [(0, 910, 950, 80)]


def test_what_was_validated_under_another_context_says_nothing_of_this_one(ledger, ask) -> None:
    box, moved = Box(), msgspec.structs.replace(PLACE, site="f" * 16)
    ledger.store([box.says(PLACE, validation(900, 950, 40))])
    ledger.store([box.says(PLACE)])
    assert ask("SELECT count(*) FROM validations") == [(1,)], "said again is not another"
    ledger.store([box.says(moved)])
    assert ask("SELECT count(*) FROM validations") == [(0,)]
    ledger.store([box.says(validation(900, 950, 40))])
    assert ask("SELECT count(*) FROM validations") == [(0,)], "late, of the Context before"
