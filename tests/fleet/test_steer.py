"""Steering: what is published is what a box would take, and what a box is told is what it should hold."""

import asyncio
import hashlib
from datetime import timedelta

import msgspec
import pytest
import sqlalchemy as sa

from fleet_builders import NOW_MS, Box, birth
from policy_builders import CityHall, a_policy, key_of, signed
from veilleur_contracts import messages as m
from veilleur_contracts.clock import datetime_of
from veilleur_contracts.codec import decode_twin
from veilleur_contracts.envelope import DocumentType, read_envelope
from veilleur_contracts.ids import shard_of
from veilleur_contracts.policy_document import (
    Contact,
    Controller,
    PolicyRejectedError,
    Role,
    Rules,
    Scope,
    Stop,
    canonical,
    decode_document,
    document_sha256,
)
from veilleur_contracts.standing import Standing, enrol, offer, why_strict
from veilleur_fleet.errors import StoreUnavailableError
from veilleur_fleet.steer.desk import Desk, PublicationRefusedError
from veilleur_fleet.steer.status import boxes_in
from veilleur_fleet.steer.steersman import Steersman, said_of
from veilleur_fleet.steer.twins import WORD_EVERY, word_for
from veilleur_fleet.store.documents import document_of, documents_in, twins_in

HALL = CityHall()
ROOT = HALL.signed_root()
NOW = datetime_of(NOW_MS)
VILLE, AGGLO = Controller.VILLE, Controller.AGGLO
TIGHT = a_policy(2, default=Rules(person_cell_min=9))
POLICY_SHA256 = hashlib.sha256(HALL.fully_signed(a_policy(1))).hexdigest()
LOOSE = a_policy(2, default=Rules(person_cell_min=3))


def stop_of(*controllers: Controller, role: Role = Role.DPO_VILLE) -> bytes:
    return HALL.signed(Stop(role, NOW, Scope(frozenset(controllers)), "Une plainte est à l'étude."), role)


@pytest.fixture
def desk(database, clock) -> Desk:
    return Desk(database.desk, clock)


@pytest.fixture
def open_desk(desk) -> Desk:
    """A desk that knows the root and has published a policy of the city."""
    desk.publish(ROOT, "tests")
    desk.publish(HALL.fully_signed(a_policy(1)), "tests")
    return desk


def steersman_of(database, clock, role: Role | None = Role.FLEET) -> Steersman:
    return Steersman(database.desk, database.readers, clock, None if role is None else HALL.keys[role][0])


def test_without_a_root_nothing_is_published_but_the_root(desk) -> None:
    with pytest.raises(PublicationRefusedError, match="steer root FILE"):
        desk.publish(HALL.fully_signed(a_policy(1)), "tests")
    done = desk.publish(ROOT, "tests")
    assert (done.kind, done.version, done.controllers, done.is_new) == ("root", 1, (AGGLO, VILLE), True)
    assert {standing.root.version for standing in desk.standings().values()} == {1}


def test_a_policy_is_published_for_the_controller_it_speaks_of(open_desk) -> None:
    assert {one: standing.policy and standing.policy.version for one, standing in open_desk.standings().items()} == {
        VILLE: 1,
        AGGLO: None,
    }


def test_what_is_published_again_changes_nothing(open_desk, database) -> None:
    again = open_desk.publish(HALL.fully_signed(a_policy(1)), "somebody else")
    assert (again.kind, again.version, again.is_new, again.controllers) == ("policy", 1, False, ())
    with database.readers.connect() as connection:
        assert [(row.kind, row.published_by) for row in documents_in(connection, 10)] == [
            (kind, "tests") for kind in sorted(("policy", "root"), key=lambda kind: _sha256_of(connection, kind))
        ]


def _sha256_of(connection, kind: str) -> str:
    return next(row.sha256 for row in documents_in(connection, 10) if row.kind == kind)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        pytest.param(HALL.signed(LOOSE, Role.OPERATOR), "controller", id="loosening-with-too-few-signatures"),
        pytest.param(HALL.fully_signed(a_policy(1, decision="Une autre.")), "higher version", id="no-newer"),
        pytest.param(HALL.fully_signed(a_policy(2))[:-30], "cut off", id="truncated"),
        pytest.param(
            HALL.fully_signed(a_policy(2, decision="Délibération n° …")), "decision is still", id="unfinished"
        ),
        pytest.param(b"{}", "no signed document|not a signed document", id="no-envelope"),
        pytest.param(b"", "not a signed document|cut off", id="empty"),
        pytest.param(
            signed(a_policy(2), DocumentType.POLICY, [key_of(200)]), "which root 1 does not know", id="stranger"
        ),
        pytest.param(HALL.signed(Contact(NOW, 9), Role.FLEET), "said by the fleet itself", id="word-of-the-fleet"),
        pytest.param(HALL.signed_root(HALL.root(5)), "offer root 2", id="root-that-skips"),
        pytest.param(
            HALL.signed(Stop(Role.DPO_AGGLO, NOW, Scope(frozenset({AGGLO})), "Non."), Role.OPERATOR),
            "dpo-agglo",
            id="stop-not-by-its-dpo",
        ),
    ],
)
def test_what_a_box_would_refuse_is_refused_with_one_sentence_and_not_kept(
    open_desk, database, document, sentence
) -> None:
    before = open_desk.standings()
    with pytest.raises(PublicationRefusedError, match=sentence) as refusal:
        open_desk.publish(document, "tests")
    assert "\n" not in str(refusal.value)
    assert open_desk.standings() == before
    with database.readers.connect() as connection:
        assert document_of(connection, hashlib.sha256(document).hexdigest()) is None


def test_a_tightening_needs_one_signature_and_a_loosening_all(open_desk) -> None:
    open_desk.publish(HALL.signed(TIGHT, Role.OPERATOR), "tests")
    open_desk.publish(HALL.fully_signed(msgspec.structs.replace(LOOSE, version=3)), "tests")
    assert open_desk.standings()[VILLE].policy.version == 3


def test_a_policy_that_leaves_a_controller_out_reaches_its_boxes_too(desk) -> None:
    both = a_policy(1, controllers=(VILLE, AGGLO))
    desk.publish(ROOT, "tests")
    desk.publish(HALL.fully_signed(both), "tests")
    alone = HALL.signed(a_policy(2), Role.CONTROLLER, Role.OPERATOR, Role.DPO_VILLE, Role.DPO_AGGLO)
    assert desk.publish(alone, "tests").controllers == (AGGLO, VILLE)
    assert {standing.policy.version for standing in desk.standings().values()} == {2}


def test_a_stop_reaches_the_boxes_of_whom_it_speaks_and_no_others(open_desk) -> None:
    assert open_desk.publish(stop_of(VILLE), "the DPO").controllers == (VILLE,)
    assert {one: len(standing.stops) for one, standing in open_desk.standings().items()} == {VILLE: 1, AGGLO: 0}


def test_a_new_root_reaches_everybody(open_desk) -> None:
    done = open_desk.publish(HALL.signed_root(HALL.root(2)), "tests")
    assert (done.version, done.controllers) == (2, (AGGLO, VILLE))


def test_while_another_writes_for_too_long_it_says_so(open_desk, database) -> None:
    with database.desk.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 1")
    database.writer.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreUnavailableError, match="did not take"):
            Desk(database.desk, open_desk._clock).publish(stop_of(VILLE), "tests")
    finally:
        database.writer.execute("ROLLBACK")


def test_a_box_that_was_heard_is_given_a_twin_from_which_it_comes_to_what_was_published(
    open_desk, database, clock, ledger
) -> None:
    open_desk.publish(HALL.signed_root(HALL.root(2)), "tests")
    open_desk.publish(stop_of(VILLE), "tests")
    open_desk.publish(HALL.signed(TIGHT, Role.OPERATOR), "tests")
    steersman = steersman_of(database, clock)
    assert not steersman.turn(), "no box was heard yet"
    ledger.store([Box().says(birth()), Box("quai-01", "agglo").says(birth()), Box("odd-01", "others").says(birth())])
    assert steersman.turn()
    assert not steersman.turn(), "nothing changed since"
    twins = _twins(database)
    assert set(twins) == {"gare-01", "quai-01"}, "nobody may sign for the third"
    assert [kind for kind, _, _ in twins["gare-01"].documents] == ["root", "stop", "policy", "policy", "contact"]
    assert [kind for kind, _, _ in twins["quai-01"].documents] == ["root", "contact"]
    box = _taken(twins["gare-01"], enrol(ROOT, VILLE), database)
    assert (box.policy.version, len(box.stops), box.root.version) == (2, 1, 2)
    assert why_strict(box, NOW) is None
    assert box.told_stops == frozenset()


def _twins(database) -> dict:
    with database.readers.connect() as connection:
        return twins_in(connection)


def _taken(twin, box: Standing, database) -> Standing:
    """What a box comes to that takes everything its twin names, in order."""
    with database.readers.connect() as connection:
        for _, sha256, size_bytes in twin.documents:
            raw = document_of(connection, sha256)
            assert (hashlib.sha256(raw).hexdigest(), len(raw)) == (sha256, size_bytes)
            box = offer(box, raw, NOW)
    return box


def test_with_every_change_the_sequence_rises_and_the_word_is_another(open_desk, database, clock, ledger) -> None:
    ledger.store([Box().says(birth())])
    steersman = steersman_of(database, clock)
    steersman.turn()
    first = _twins(database)["gare-01"]
    open_desk.publish(stop_of(VILLE), "tests")
    assert steersman.turn(), "the clock stands still, and yet"
    second = _twins(database)["gare-01"]
    assert second.sequence > first.sequence
    words = [_word(database, twin) for twin in (first, second)]
    assert words[0].stops == frozenset()
    assert words[1].stops == {document_sha256(read_envelope(stop_of(VILLE)).content())}
    assert words[1].at > words[0].at, "a box hears only what is later"
    clock.move(WORD_EVERY.total_seconds() + 1)
    assert steersman.turn(), "an old word is said anew"
    assert _word(database, _twins(database)["gare-01"]).at >= words[1].at + WORD_EVERY
    for _ in range(12):
        clock.move(WORD_EVERY.total_seconds() + 1)
        steersman.turn()
    with database.readers.connect() as connection:
        kept = connection.exec_driver_sql("SELECT count(*) FROM documents WHERE kind = 'contact'").scalar()
    assert kept <= 10, "old words are forgotten"


def _word(database, twin) -> Contact:
    with database.readers.connect() as connection:
        raw = document_of(connection, twin.documents[-1][1])
    return decode_document(read_envelope(raw).content(), Contact)


@pytest.mark.usefixtures("open_desk")
@pytest.mark.parametrize("role", [None, Role.OPERATOR], ids=["without-a-key", "with-a-key-the-root-does-not-name"])
def test_without_a_key_of_its_own_the_fleet_gives_no_word(database, clock, ledger, said, role) -> None:
    ledger.store([Box().says(birth())])
    assert steersman_of(database, clock, role).turn()
    assert [kind for kind, _, _ in _twins(database)["gare-01"].documents] == ["policy"]
    assert ("fleet.key_unknown" in {event["event"] for event in said}) is (role is not None)


@pytest.mark.parametrize(
    ("age", "changes", "is_due"),
    [
        pytest.param(timedelta(minutes=1), {}, False, id="young"),
        pytest.param(WORD_EVERY, {}, True, id="old"),
        pytest.param(timedelta(minutes=1), {"policy_version": 7}, True, id="another-policy"),
        pytest.param(timedelta(minutes=1), {"stops": frozenset({"a" * 64})}, True, id="another-stop"),
        pytest.param(-timedelta(minutes=1), {}, False, id="a-little-ahead"),
        pytest.param(-timedelta(days=1), {}, True, id="of-a-clock-that-was-ahead"),
    ],
)
def test_when_the_fleet_speaks_again(age, changes, is_due) -> None:
    standing = enrol(ROOT, VILLE)
    last = msgspec.structs.replace(Contact(NOW - age, 0, controllers=frozenset({VILLE})), **changes)
    word = word_for(VILLE, standing, last, NOW)
    assert (word is not None) is is_due
    assert word is None or (word.at > last.at and word.controllers == {VILLE})


@pytest.mark.usefixtures("open_desk")
def test_a_twin_is_said_retained_where_its_box_listens(database, clock, ledger) -> None:
    ledger.store([Box().says(birth())])
    steersman_of(database, clock).turn()
    said = said_of(_twins(database)["gare-01"])
    assert said.retain
    assert said.topic.endswith("/gare-01/dn/twin")
    assert [one.kind for one in decode_twin(said.payload).documents] == ["policy", "contact"]


def _reported(**changes) -> m.Reported:
    said = m.Reported(NOW_MS // 1000 - 5, 1, 1, "a" * 16, "0" * 16, "signed", 0, 1, 0, NOW_MS // 1000 - 60, None, 0)
    return msgspec.structs.replace(said, **changes)


@pytest.mark.usefixtures("open_desk")
@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        pytest.param([], "it has not said what it holds", id="silent"),
        pytest.param([_reported()], "", id="as-it-should"),
        pytest.param(
            [_reported(policy_version=0, policy=None, why=m.Strictness.NO_POLICY)],
            "it holds something else; strict: no-policy",
            id="no-policy-yet",
        ),
        pytest.param(
            [_reported(policy_version=0, policy=None, why=1, refused="b" * 16, refusal=m.Refusal.UNDER_SIGNED)],
            f"it holds something else; strict: no-policy; refused {'b' * 16}: under-signed",
            id="refuses",
        ),
        pytest.param(
            [_reported(), m.FetchAlarm(NOW_MS // 1000 - 1, POLICY_SHA256[:16], m.FetchFault.WRONG_HASH, 3)],
            f"cannot fetch {document_sha256(canonical(a_policy(1)))[:16]}: wrong-hash, 3 times",
            id="cannot-fetch",
        ),
        pytest.param(
            [_reported(), m.FetchAlarm(NOW_MS // 1000 - 1, "c" * 16, m.FetchFault.WRONG_HASH, 3)],
            "",
            id="could-not-fetch-what-is-no-longer-wanted",
        ),
        pytest.param(
            [_reported(), *(m.FetchAlarm(NOW_MS // 1000 - 3 + n, POLICY_SHA256[:16], (6, 0)[n], 3) for n in range(2))],
            "",
            id="could-at-last",
        ),
        pytest.param([_reported(root=0)], "not enrolled", id="not-enrolled"),
        pytest.param([_reported(), _reported(at_s=NOW_MS // 1000 - 9, policy_version=7)], "", id="late-word"),
    ],
)
def test_what_a_box_should_hold_stands_beside_what_it_says(database, clock, ledger, said, trouble) -> None:
    box = Box()
    ledger.store([box.says(birth()), *(box.says(one) for one in said)])
    steersman_of(database, clock).turn()
    with database.readers.connect() as connection:
        (seen,) = boxes_in(connection)
    assert (seen.box, seen.desired, seen.trouble) == ("gare-01", "policy 1", trouble)


def test_a_stopped_box_is_as_it_should_be_when_a_dpo_stopped_it(open_desk, database, ledger) -> None:
    open_desk.publish(stop_of(VILLE), "tests")
    box = Box()
    ledger.store([box.says(birth(), _reported(stops=1, why=m.Strictness.STOPPED, profile="stopped", running=0))])
    with database.readers.connect() as connection:
        (seen,) = boxes_in(connection)
    assert (seen.desired, seen.reported, seen.trouble) == ("policy 1, 1 stop", "policy 1, 1 stop", "")


@pytest.mark.usefixtures("open_desk")
def test_a_database_that_somebody_edited_steers_nobody(database, clock, ledger) -> None:
    ledger.store([Box().says(birth())])
    kept = HALL.signed(LOOSE, Role.OPERATOR)
    with database.desk.begin() as connection:
        raw = connection.exec_driver_sql("SELECT kept FROM standings WHERE controller = 'ville'").scalar()
        held = msgspec.json.decode(raw)
        held["base"] = msgspec.json.decode(msgspec.json.encode(kept))
        edited = msgspec.json.encode(held).decode()
        connection.exec_driver_sql("UPDATE standings SET kept = ? WHERE controller = 'ville'", (edited,))
    with pytest.raises(PolicyRejectedError):
        steersman_of(database, clock).turn()
    assert _twins(database) == {}


class _Silent:
    """Keeps a database from answering."""

    def __init__(self, engine) -> None:
        self.asked = 0
        sa.event.listen(engine, "begin", self._refuse)

    def _refuse(self, _connection) -> None:
        self.asked += 1
        if self.asked < 3:
            raise sa.exc.TimeoutError("every connection is in use")


@pytest.mark.usefixtures("open_desk")
async def test_each_worker_writes_and_tells_the_twins_of_its_own_shards(database, clock, ledger, worlds) -> None:
    boxes = [Box(name=f"box-{number}") for number in range(8)]
    ledger.store([box.says(birth()) for box in boxes])
    halves, heard = (range(8), range(8, 16)), ([], [])
    workers = [Steersman(database.desk, database.readers, clock, HALL.keys[Role.FLEET][0], half) for half in halves]
    assert [worker.turn() for worker in workers] == [True, True]
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one.tell(_Ear(told))) for one, told in zip(workers, heard, strict=True)]
        await worlds.until(lambda: sum(map(len, heard)) >= len(boxes), "telling")
        for task in running:
            task.cancel()
    for half, told in zip(halves, heard, strict=True):
        names = [one.topic.split("/")[4] for one in told]
        assert sorted(names) == [box.name for box in boxes if shard_of(box.name) in half]


class _Ear:
    """Stands at the broker's place and takes everything."""

    def __init__(self, told: list) -> None:
        self._told = told

    async def say(self, messages) -> int:
        self._told.extend(messages)
        return 0


@pytest.mark.usefixtures("open_desk")
async def test_boxes_are_told_again_when_the_database_answers_again(database, clock, ledger, worlds, said) -> None:
    ledger.store([Box().says(birth())])
    told = []
    assert steersman_of(database, clock).turn()

    for engine in (database.readers, database.desk):
        silent = _Silent(engine)
        steering = steersman_of(database, clock)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(steering.run()), tasks.create_task(steering.tell(_Ear(told)))]
            await worlds.until(lambda silent=silent: silent.asked >= 3 and told, "telling")
            for task in running:
                task.cancel()
        told.clear()
    assert {event["event"] for event in said} == {"twins.kept"}
