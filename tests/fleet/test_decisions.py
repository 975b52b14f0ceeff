"""What people decide is kept alike by SQLite and PostgreSQL: accounts, tokens, actions, routes, notices."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import msgspec
import pytest

from fleet_builders import EITHER_ENGINE, NOW_MS, Box, context, entrance_of, window
from house_builders import PASSWORD, ROOT
from policy_builders import NOW, CityHall, a_policy
from veilleur_contracts.clock import datetime_of
from veilleur_contracts.messages import MessageClass
from veilleur_contracts.policy import EventKind
from veilleur_contracts.policy_document import Authorisation, Controller
from veilleur_fleet.access.actions import Actions, listed, verify
from veilleur_fleet.access.capacity import Capacity, Role
from veilleur_fleet.errors import AccessRejectedError
from veilleur_fleet.notices.rules import Subtype, content_of
from veilleur_fleet.routing.rules import Purpose, Route
from veilleur_fleet.steer.desk import Desk
from veilleur_fleet.store.past import Past, Wanted
from veilleur_fleet.web.reach import Reach

pytestmark = EITHER_ENGINE

OPERATOR = Capacity(Role.OPERATOR)


@pytest.fixture
def entrance(database, clock):
    return entrance_of(database, clock)


def test_an_account_and_a_token_live_and_end(entrance, clock) -> None:
    accounts = entrance.accounts
    assert not accounts.is_anybody_known()
    accounts.add(ROOT, "jmartin", "Jeanne Martin", OPERATOR, PASSWORD)
    with pytest.raises(AccessRejectedError):
        accounts.add(ROOT, "jmartin", "Jean Martin", OPERATOR, PASSWORD)
    secret, caller = accounts.log_in("jmartin", PASSWORD)
    clock.move(600)
    assert accounts.by_session(secret) == caller
    accounts.set_password(ROOT, "jmartin", "quatre petits chats")
    assert accounts.by_session(secret) is None
    token = accounts.new_token(ROOT, "hypervisor", OPERATOR, 1)
    assert accounts.by_token(token).name == "token:hypervisor"
    accounts.revoke(ROOT, "hypervisor")
    accounts.disable(ROOT, "jmartin")
    assert accounts.by_token(token) is accounts.log_in("jmartin", "quatre petits chats") is None
    assert [(one.name, one.used_ms) for one in accounts.tokens()] == [("hypervisor", clock.at_ms)]
    assert accounts.is_anybody_known()


def test_many_who_act_at_once_make_one_chain(entrance, database, clock) -> None:
    noting = Actions(database.desk, clock)
    entrance.accounts.add(ROOT, "jmartin", "Jeanne Martin", OPERATOR, PASSWORD)
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda number: noting.note(ROOT, "route.changed", {"n": number}), range(24)))
    assert sorted(numbers) == list(range(2, 26))
    with database.readers.connect() as connection:
        assert verify(connection).fault is None
        assert [one.action_no for one in listed(connection, limit=3, newest=True)] == [23, 24, 25]


def test_routes_and_grounds_are_kept_and_decide_what_is_read(entrance, database, ledger) -> None:
    box, parvis = Box(), context()
    ledger.store([box.says(parvis, window(parvis))])
    shard = int(box.topic().split("/")[3])
    table, reach = entrance.routing, Reach(entrance.routing)
    assert Past(database.readers).after(Wanted(shard, 0), 10, reach.passes("x")).told == []
    route = Route("x", frozenset({MessageClass.STATISTICS}), frozenset({Purpose.MOBILITY}))
    for _ in range(2):
        table.put(ROOT, [route])
    day = datetime_of(NOW_MS).date()
    allowed = Authorisation(EventKind.WRONG_WAY, day, day + timedelta(days=9), "Arrêté", frozenset({"30189"}))
    for _ in range(2):
        assert table.put_grounds(ROOT, a_policy(authorisations=(allowed,))) == 1
    routing = table.routing()
    assert routing.routes == (route,)
    assert [one.authorisation for one in routing.grounds] == [allowed]
    stretch = Past(database.readers).after(Wanted(shard, 0), 10, reach.passes("x"))
    assert [one.name for one in stretch.told] == ["context", "crossings"]
    assert stretch.upto == stretch.last


def test_the_grounds_of_a_controller_that_is_steered_are_those_of_its_policy(entrance, database, clock) -> None:
    hall, table, desk = CityHall(), entrance.routing, Desk(database.desk, clock)
    clock.at_ms = round(NOW.timestamp() * 1000)
    allowed = Authorisation(EventKind.WRONG_WAY, NOW.date(), NOW.date(), "imported", frozenset({"30189"}))
    table.put_grounds(ROOT, a_policy(controllers=tuple(Controller), authorisations=(allowed,)))
    assert [one.scope.controllers for one in table.routing().grounds] == [frozenset(Controller)]
    desk.publish(hall.signed_root(), "root")
    assert table.routing().grounds == (), "a fleet that steers rests on nothing else"
    allowed = msgspec.structs.replace(allowed, reference="published")
    desk.publish(hall.fully_signed(a_policy(authorisations=(allowed,))), "root")
    (ground,) = table.routing().grounds
    assert (ground.authorisation.reference, ground.scope.controllers) == ("published", {Controller.VILLE})
    desk.publish(hall.fully_signed(a_policy(2)), "root")
    assert table.routing().grounds == ()


def test_a_notice_stands_until_it_ends_or_is_withdrawn(entrance, clock) -> None:
    content = content_of(Subtype.FLOOD, "Quai de la Fontaine", "43.8 4.3 43.9 4.4", "BOTH_DIRECTIONS")
    names = [entrance.board.confirm(ROOT, content, None, NOW_MS + hours * 3_600_000) for hours in (1, 2)]
    assert [one.name for one in entrance.board.standing()] == names
    entrance.board.withdraw(ROOT, names[1])
    clock.move(3600)
    assert entrance.board.standing() == []
