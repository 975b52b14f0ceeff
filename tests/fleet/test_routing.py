"""Which service is told what: the rules, the table, the command, and what a consumer really gets over REST."""

from datetime import timedelta

import msgspec
import pytest
from paho.mqtt.client import topic_matches_sub
from typer.testing import CliRunner

from city_hall import CityHall as Hall
from fleet_builders import NOW_MS, Box, birth, context, health, window
from house_builders import ROOT, House
from policy_builders import a_policy
from veilleur_contracts import messages as m
from veilleur_contracts.clock import datetime_of
from veilleur_contracts.codec import context_number_of
from veilleur_contracts.examples import EXAMPLES
from veilleur_contracts.messages import MessageClass
from veilleur_contracts.policy import EventKind
from veilleur_contracts.policy_document import Authorisation, Controller
from veilleur_contracts.topics import out_technical_topic, out_topic
from veilleur_fleet.cli import cli
from veilleur_fleet.routing.filters import filters_of
from veilleur_fleet.routing.rules import (
    TEMPLATE,
    Bar,
    Purpose,
    Route,
    RoutesRejectedError,
    Routing,
    Service,
    Subject,
    check_routes,
    grounds_of,
    read_routes,
)
from veilleur_fleet.routing.subjects import EVENT_OF, PURPOSE_OF, PURPOSE_OF_EVENT, subject_of
from veilleur_fleet.routing.table import RoutingTable
from veilleur_fleet.store.kinds import NAME_OF, OfContext, OfSensor

NOW_S = NOW_MS // 1000
TODAY = datetime_of(NOW_MS).date()
REFERENCE = "Arrêté 2026-07"
PARVIS = msgspec.structs.replace(context("gare-parvis"), zones=("bay",))
QUAY = msgspec.structs.replace(context("quai-nord", insee="30258"), zones=("bay",))
S, A, E, T = MessageClass.STATISTICS, MessageClass.AGGREGATE, MessageClass.EVENT, MessageClass.TECHNICAL


def route(service, classes, purposes, **more) -> Route:
    return Route(service, frozenset(classes), frozenset(purposes), **{k: frozenset(v) for k, v in more.items()})


def authorisation(**changes) -> Authorisation:
    about = {
        "kind": EventKind.STOPPED_VEHICLE,
        "first_day": TODAY - timedelta(days=1),
        "last_day": TODAY + timedelta(days=1),
        "reference": REFERENCE,
        "communes": frozenset({"30189"}),
    }
    return Authorisation(**about | changes)


POLICE = route("municipal-police", [E], [Purpose.PARKING], grounds=[REFERENCE])
STANDING = Subject(E, "ville", Purpose.PARKING, NOW_S, "30189", "gare-parvis", EventKind.STOPPED_VEHICLE)


def routing(*routes, authorisations=(), **policy) -> Routing:
    now = datetime_of(NOW_MS)
    dates = {"issued": now - timedelta(days=30), "expires": now + timedelta(days=30)}
    return Routing(tuple(routes), grounds_of(a_policy(**dates | policy, authorisations=tuple(authorisations))))


def test_every_kind_told_of_a_camera_is_for_something_and_every_event_for_what_it_is() -> None:
    """A kind that is for nothing yet is told to no service, which is safe; of a camera none may be left so."""
    assert set(PURPOSE_OF) <= set(m.AnyRecord.__args__)
    assert set(OfContext.__args__) - set(PURPOSE_OF) == {m.StreetEvent}
    assert set(EVENT_OF) == set(m.EventKind)
    assert set(EVENT_OF.values()) == set(PURPOSE_OF_EVENT) == set(EventKind)


@pytest.mark.parametrize(
    ("one", "subject", "bar"),
    [
        (route("x", [S], [Purpose.MOBILITY]), Subject(S, "ville", Purpose.MOBILITY), None),
        (route("x", [S], [Purpose.MOBILITY]), Subject(A, "ville", Purpose.MOBILITY), Bar.CLASS),
        (route("x", [S, A], [Purpose.TRAFFIC]), Subject(S, "ville", Purpose.MOBILITY), Bar.PURPOSE),
        (route("x", [T], [Purpose.UPKEEP]), Subject(T, "ville", None), Bar.PURPOSE),
        (
            route("x", [S], [Purpose.MOBILITY], controllers=["agglo"]),
            Subject(S, "ville", Purpose.MOBILITY),
            Bar.CONTROLLER,
        ),
        (
            route("x", [S], [Purpose.MOBILITY], communes=["30189"]),
            Subject(S, "ville", Purpose.MOBILITY, insee="30258"),
            Bar.COMMUNE,
        ),
        (route("x", [T], [Purpose.UPKEEP], communes=["30189"]), Subject(T, "ville", Purpose.UPKEEP), Bar.COMMUNE),
        (POLICE, Subject(S, "ville", Purpose.MOBILITY, insee="30189", is_key=True), None),
        (POLICE, STANDING, Bar.GROUNDS),
    ],
)
def test_a_route_lets_through_what_it_names_and_says_why_not(one, subject, bar) -> None:
    assert routing(one).bar(one, subject) is bar
    assert routing(one).tells(one.service, subject) is (bar is None)
    assert not routing(one).tells("another", subject)


@pytest.mark.parametrize(
    ("changes", "policy", "told"),
    [
        pytest.param({}, {}, True, id="covered"),
        pytest.param({"kind": EventKind.BULKY_OBJECT}, {}, False, id="another-event"),
        pytest.param({"communes": frozenset({"30258"})}, {}, False, id="another-commune"),
        pytest.param({"communes": frozenset(), "cameras": frozenset({"gare-parvis"})}, {}, True, id="by-camera"),
        pytest.param({"first_day": TODAY + timedelta(days=1)}, {}, False, id="not-yet"),
        pytest.param({"last_day": TODAY - timedelta(days=1)}, {}, False, id="over"),
        pytest.param({"reference": "Arrêté 2025-01"}, {}, False, id="not-named-by-the-route"),
        pytest.param({}, {"expires": datetime_of(NOW_MS) - timedelta(days=1)}, False, id="policy-expired"),
        pytest.param({}, {"controllers": ("agglo",)}, False, id="another-controller"),
    ],
)
def test_an_event_goes_to_the_police_only_while_an_authorisation_covers_it(changes, policy, told) -> None:
    if "controllers" in policy:
        policy = {"controllers": (Controller.AGGLO,)}
    assert (
        routing(POLICE, authorisations=[authorisation(**changes)], **policy).tells("municipal-police", STANDING) is told
    )


def test_a_whole_box_has_no_event() -> None:
    (ground,) = grounds_of(a_policy(authorisations=(authorisation(),)))
    assert not ground.covers(Subject(E, "ville", Purpose.PARKING, NOW_S, event=EventKind.STOPPED_VEHICLE))


@pytest.mark.parametrize(
    ("one", "remedy"),
    [
        (route("x", [E], [Purpose.PARKING]), "name its reference"),
        (route("x", [S], [Purpose.PARKING], grounds=["y"]), "add E"),
    ],
)
def test_a_route_that_contradicts_itself_is_refused_with_the_remedy(one, remedy) -> None:
    with pytest.raises(RoutesRejectedError, match=f"route 1 .*{remedy}"):
        check_routes([one])


def test_the_template_names_each_of_the_six_services_and_can_be_put_in_force(tmp_path) -> None:
    file = tmp_path / "routes.toml"
    file.write_text(TEMPLATE)
    assert {one.service for one in read_routes(file)} == set(Service)
    file.write_text(TEMPLATE.replace("# [[route]]\n# ", "[[route]]\n").replace("\n# ", "\n"))


@pytest.mark.parametrize(
    "text",
    [
        "[[route]]\nservice = 'x'\n",
        "[[route]]\nservice = 'x'\nclasses = ['Q']\npurposes = ['mobility']\n",
        "[[route]]\nservice = 'X Y'\nclasses = ['S']\npurposes = ['mobility']\n",
        "[[route]]\nservice = 'x'\nclasses = ['S']\npurposes = ['mobility']\nextra = 1\n",
        "[[route]]\nservice = 'x'\nclasses = ['S']\npurposes = []\n",
        "not toml",
        "x = '\x00'",
        "#" * 300_000,
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_sentence(tmp_path, text) -> None:
    file = tmp_path / "routes.toml"
    file.write_text(text)
    with pytest.raises(RoutesRejectedError, match=r"routes\.toml"):
        read_routes(file)
    with pytest.raises(RoutesRejectedError, match="cannot read"):
        read_routes(tmp_path / "none.toml")


ROUTES = [
    pytest.param(route("x", [S, A, T], [*Purpose]), id="everything"),
    pytest.param(route("x", [S], [Purpose.MOBILITY]), id="counts"),
    pytest.param(route("x", [S], [Purpose.PARKING], communes=["30258"]), id="stays-of-a-commune"),
    pytest.param(route("x", [A, S], [Purpose.TRAFFIC, Purpose.FLOOD], controllers=["ville"]), id="roads-and-water"),
    pytest.param(route("x", [T], [Purpose.UPKEEP], controllers=["agglo"]), id="upkeep-of-another"),
    pytest.param(route("x", [T, S], [Purpose.UPKEEP], communes=["30189"]), id="no-box-lies-in-a-commune"),
    pytest.param(POLICE, id="events-are-not-for-the-broker"),
]


def topic_of(controller: str, record, place: m.Context) -> str:
    kind, name = m.CLASS_OF.get(type(record), T), NAME_OF[type(record)]
    if isinstance(record, OfSensor):
        return out_topic(controller, kind, record.insee, record.sensor, name)
    if isinstance(record, OfContext | m.Context):
        return out_topic(controller, kind, place.insee, place.camera, name)
    return out_technical_topic(controller, "gare-01", name)


@pytest.mark.parametrize("one", ROUTES)
@pytest.mark.parametrize("of_one", [None, "ville"])
def test_the_broker_lets_a_service_hear_what_its_routes_let_through_and_nothing_else(one, of_one) -> None:
    filters = filters_of([one], of_one)
    table = Routing((one,))
    for controller in ("ville", "agglo"):
        for place in (PARVIS, QUAY):
            for record in EXAMPLES.values():
                if type(record) not in NAME_OF:
                    continue
                said = msgspec.structs.replace(record, insee=place.insee) if hasattr(record, "insee") else record
                of_camera = place if isinstance(said, OfContext | m.Context) else None
                told = table.tells("x", subject_of(m.CLASS_OF.get(type(said), T), controller, said, of_camera))
                told = told and of_one in {None, controller} and one.service == "x"
                heard = any(topic_matches_sub(each, topic_of(controller, said, place)) for each in filters)
                if one is not POLICE or not isinstance(said, m.Context):
                    assert heard is told, (type(said).__name__, controller, place.insee)


def test_a_table_of_more_topics_than_a_broker_takes_is_refused_with_the_remedy(database, clock) -> None:
    table = RoutingTable(database.readers, database.desk, clock)
    controllers = [f"c{number}" for number in range(16)]
    wide = route("x", [S, A], [*Purpose], controllers=controllers, communes=[f"{n:05}" for n in range(1000, 1250)])
    with pytest.raises(RoutesRejectedError, match="leave them out to mean all"):
        table.put(ROOT, [wide])
    assert table.routing().routes == ()


@pytest.fixture
def house(database, clock, ledger):
    """Two cameras in two communes that have said something of every class."""
    box = Box()
    ledger.store([box.says(birth(), health())])
    ledger.store([box.says(PARVIS, QUAY, window(PARVIS), window(QUAY))])
    for place in (PARVIS, QUAY):
        number = context_number_of(place)
        ledger.store([box.says(m.RoadState(number, NOW_S - 300, 300, 0, 3, 900, 50, 80))])
        ledger.store([box.says(m.StreetEvent(number, NOW_S - 60, 0, 0, NOW_S - 120, 0))])
    house = House(database, clock)
    house.shard = int(box.topic().split("/")[3])
    return house


async def told_to(house, service, path="/v1/records") -> list[tuple[str, str]]:
    async with house.browser(**house.token(f"consumer-{service}")) as web:
        answer = await web.get(path, params={"shard": house.shard})
        assert answer.status_code == 200, answer.text
        return [(item["kind"], item["topic"].split("/")[5]) for item in answer.json()["items"]]


async def test_a_consumer_is_told_nothing_until_something_is_routed_to_it(house) -> None:
    assert await told_to(house, "crisis-room") == []
    async with house.browser(**house.token("consumer-crisis-room")) as web:
        assert (await web.get("/v1/counts")).json()["items"] == []
        assert (await web.get("/v1/totals")).json()["items"] == []


async def test_a_consumer_is_told_what_its_routes_let_through_and_nothing_else(house) -> None:
    house.table.put(
        ROOT,
        [
            route("traffic-control", [A], [Purpose.TRAFFIC], communes=["30258"]),
            route("crisis-room", [S, A, T], [Purpose.MOBILITY, Purpose.UPKEEP]),
            route("other", [S], [Purpose.MOBILITY], controllers=["agglo"]),
        ],
    )
    assert await told_to(house, "traffic-control") == [("context", "30258"), ("road", "30258")]
    assert {kind for kind, _ in await told_to(house, "crisis-room")} == {"birth", "health", "context", "crossings"}
    assert await told_to(house, "other") == []


async def test_counts_and_totals_are_those_of_the_communes_that_are_routed(house) -> None:
    house.table.put(ROOT, [route("traffic-control", [S], [Purpose.MOBILITY], communes=["30258"])])
    async with house.browser(**house.token("consumer-traffic-control")) as web:
        for path in ("/v1/counts", "/v1/totals"):
            cameras = {item["camera"] for item in (await web.get(path)).json()["items"]}
            assert cameras == {"quai-nord"}, path
        assert (await web.get("/v1/counts?camera=gare-parvis")).json()["items"] == []


async def test_the_police_is_told_events_only_where_an_authorisation_covers_them(house) -> None:
    house.table.put(ROOT, [POLICE])
    assert {kind for kind, _ in await told_to(house, "municipal-police")} == {"context"}
    now = datetime_of(NOW_MS)
    dates = {"issued": now - timedelta(days=30), "expires": now + timedelta(days=30)}
    house.table.put_grounds(ROOT, a_policy(**dates, authorisations=(authorisation(),)))
    events = [item for item in await told_to(house, "municipal-police") if item[0] == "event"]
    assert events == [("event", "30189")]
    house.table.put_grounds(ROOT, a_policy(2, **dates))
    assert "event" not in {kind for kind, _ in await told_to(house, "municipal-police")}


async def test_the_table_can_be_seen_by_the_fleets_people_and_a_service_sees_its_own(house) -> None:
    house.table.put(ROOT, [POLICE, route("crisis-room", [S], [Purpose.MOBILITY])])
    house.table.put_grounds(ROOT, a_policy(authorisations=(authorisation(),)))
    async with house.browser(**house.token("dpo-ville")) as web:
        page = (await web.get("/services?lang=en")).text
        assert "Municipal police" in page
        assert page.count(REFERENCE) == 2
        assert "Nothing is routed to it." in page
    async with house.browser(**house.token("consumer-crisis-room")) as web:
        page = (await web.get("/services?lang=fr")).text
        assert "Salle de crise" in page
        assert REFERENCE not in page
        assert "Police municipale" not in page


@pytest.fixture
def say(tmp_path, house):  # noqa: ARG001 - whose database is in the folder
    def said(*words):
        done = CliRunner().invoke(cli, [*map(str, words), "--data", str(tmp_path / "fleet")])
        return done.exit_code, done.output

    return said


def test_a_table_is_written_put_in_force_listed_and_explained_by_command(say, tmp_path) -> None:
    file = tmp_path / "routes.toml"
    assert CliRunner().invoke(cli, ["route", "new", str(file)]).exit_code == 0
    assert CliRunner().invoke(cli, ["route", "new", str(file)]).exit_code == 1
    code, text = say("route", "set", file)
    assert (code, text) == (0, "6 route(s) in force for 6 service(s)\n")
    assert "1\ttraffic-control\tSA\tmobility,traffic\tall controllers\tall communes" in say("route", "list")[1]
    asked = ("--controller", "ville", "--commune", "30189", "--camera", "gare-parvis")
    code, text = say("route", "explain", "traffic-control", *asked, "--class", "A", "--purpose", "traffic")
    assert (code, text) == (0, "route 1: yes\ntraffic-control is told\n")
    code, text = say("route", "explain", "municipal-police", *asked, "--event", "stopped-vehicle")
    assert code == 1
    assert "no: its class is not routed" in text
    code, text = say("route", "explain", "nobody", *asked, "--event", "wrong-way")
    assert (code, "no route names nobody" in text) == (1, True)
    assert say("route", "explain", "x", *asked)[0] == 1
    assert say("route", "set", tmp_path / "none.toml")[0] == 1
    assert "routes.changed" in say("actions", "list")[1]


def test_grounds_are_taken_from_a_policy_that_was_verified(say, tmp_path) -> None:
    hall = Hall(tmp_path)
    policy = hall.policy(1)
    code, text = say("route", "grounds", policy, "--root", hall.root)
    assert code == 0, text
    assert "authorisation(s) of policy 1 known" in text
    forged = tmp_path / "forged.json"
    forged.write_bytes(policy.read_bytes().replace(b'"sig":"', b'"sig":"AAAA', 1))
    assert say("route", "grounds", forged, "--root", hall.root)[0] == 1
    assert say("route", "grounds", tmp_path / "none.json", "--root", hall.root)[0] == 1
