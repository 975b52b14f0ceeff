import array
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from box_builders import HandClock, a_context, a_health, a_window
from veilleur_agent.budget import (
    CONTEXT_BYTES,
    EVENT_BYTES,
    OBJECT_BYTES,
    OCCUPANCY_BYTES,
    ROAD_BYTES,
    ROLL_UP_BYTES,
    SPEED_BYTES,
    STAY_BYTES,
    TECHNICAL_BYTES,
    VALIDATION_BYTES,
    WINDOW_BYTES,
    Budget,
    TokenBucket,
    budget_of,
    event_budget,
    leak_bytes_per_day,
)
from veilleur_agent.hold import Hold
from veilleur_agent.link import (
    Allowances,
    CutReason,
    EyeEnd,
    LinkCutError,
    MouthEnd,
    discard,
    link_pair,
    others_budget,
)
from veilleur_contracts.codec import context_number_of, decode_record, encode, encode_record
from veilleur_contracts.messages import (
    Birth,
    CameraHealth,
    Carried,
    Context,
    CrossingWindow,
    DocumentReady,
    FetchAlarm,
    Gap,
    MessageClass,
    ObjectWindow,
    OccupancyWindow,
    Received,
    Record,
    RoadState,
    RollUp,
    SpeedWindow,
    StayWindow,
    StreetEvent,
    Validation,
    ViewAlarm,
)
from veilleur_contracts.policy import BENCH, STRICTEST, EventKind, Permissions
from veilleur_contracts.site import Camera, Ground, Line, Zone

LINE = Line("kerb", (0.1, 0.6), (0.9, 0.6))
BAY = Zone("bay", ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9)))
SQUARE = ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8))

WIDE = Budget(1e9, 1_000_000_000)


class World:
    """An eye's end, a mouth's end, and the memory an outbox would have on disk."""

    def __init__(self, budgets: dict[str, Budget] | None = None) -> None:
        self.clock = HandClock()
        self.eye_sock, self.mouth_sock = link_pair()
        self.hold = Hold(self.clock.now_ms())
        self.budgets = budgets or {"gare": WIDE}
        honest = {camera: budget.within() for camera, budget in self.budgets.items()}
        allowances = Allowances(honest, others_budget(honest.values()), self.clock)
        self.eye = EyeEnd(self.eye_sock, self.hold, self.clock, allowances)
        self.committed: dict[int, int] = {}
        self.stored: list[int] = []
        self.start_mouth()

    def start_mouth(self) -> None:
        """Begin with what is on disk and nothing else, as after a kill."""
        allowances = Allowances(self.budgets, others_budget(self.budgets.values()), self.clock)
        self.mouth = MouthEnd(self.mouth_sock, allowances, self.committed)

    def commit(self, carried: Carried) -> None:
        record = decode_record(bytes(carried.record))
        self.committed[carried.epoch] = record.last if isinstance(record, Gap) else carried.seq
        if isinstance(record, CrossingWindow):
            self.stored.append(record.at_s)

    def turn(self) -> None:
        self.hold.saved()
        self.eye.pump()
        while (carried := self.mouth.receive()) is not None:
            self.commit(carried)
        self.mouth.acknowledge(self.committed)

    def settle(self) -> None:
        for _ in range(100):
            self.clock.advance(0.5)
            self.turn()
            self.eye.pump()
            if not len(self.hold):
                return
        raise AssertionError("the link did not come to rest")

    def close(self) -> None:
        self.eye_sock.close()
        self.mouth_sock.close()


@pytest.fixture
def world() -> Iterator[World]:
    one = World()
    yield one
    one.close()


def carried(record: object, seq: int = 1, epoch: int = 9) -> bytes:
    return encode(Carried(epoch, seq, Raw(encode(record))))


def test_what_the_eye_says_arrives_once_in_order_and_is_forgotten_when_committed(world: World) -> None:
    world.hold.say(a_context())
    for n in range(500):
        world.hold.say(a_window(n, context_number_of(a_context())))
    world.settle()
    assert world.stored == list(range(500))


def test_a_mouth_killed_between_reading_and_committing_loses_nothing(world: World) -> None:
    for n in range(10):
        world.hold.say(a_window(n))
    world.hold.saved()
    world.eye.pump()
    for _ in range(3):
        one = world.mouth.receive()
        assert one is not None
        world.commit(one)
    assert world.mouth.receive() is not None  # read, never committed: the mouth dies here
    world.start_mouth()
    world.settle()
    assert world.stored == list(range(10))


def test_a_mouth_killed_between_committing_and_acknowledging_stores_nothing_twice(world: World) -> None:
    for n in range(10):
        world.hold.say(a_window(n))
    world.hold.saved()
    world.eye.pump()
    while (one := world.mouth.receive()) is not None:
        world.commit(one)
    world.start_mouth()
    world.settle()
    assert world.stored == list(range(10))


def test_a_mouth_that_lost_its_disk_is_noticed_and_the_link_goes_on(world: World) -> None:
    for n in range(5):
        world.hold.say(a_window(n))
    world.settle()
    world.committed.clear()
    world.start_mouth()
    world.hold.say(a_window(5))
    world.settle()
    assert world.stored == [0, 1, 2, 3, 4, 5]
    assert world.eye.mouth_forgot


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_however_both_die_every_window_is_stored_exactly_once(data: st.DataObject) -> None:
    world, said = World(), 0
    try:
        for _ in range(data.draw(st.integers(1, 40))):
            match data.draw(st.sampled_from(["say", "health", "turn", "read", "kill mouth", "wait", "drop"])):
                case "say":
                    world.hold.say(a_window(said))
                    said += 1
                case "health":
                    world.hold.say(a_health(said))
                case "turn":
                    world.turn()
                case "read":
                    world.mouth.receive()
                case "kill mouth":
                    world.start_mouth()
                case "wait":
                    world.clock.advance(data.draw(st.sampled_from([0.1, 1.0, 3.0])))
                case _:
                    discard(world.mouth_sock)
        world.start_mouth()  # a mouth that read without committing is dead by definition
        world.settle()
        assert world.stored == list(range(said))
    finally:
        world.close()


def test_a_mouth_that_does_not_read_blocks_nobody_and_is_seen(world: World) -> None:
    for n in range(5000):
        world.hold.say(a_window(n))
    world.hold.saved()
    for _ in range(50):
        world.eye.pump()
    assert world.eye.is_full
    world.settle()
    assert world.stored == list(range(5000))


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        pytest.param(b"", CutReason.EMPTY, id="empty"),
        pytest.param(b"x" * 1025, CutReason.TRUNCATED, id="longer-than-allowed"),
        pytest.param(b"\xff\xd8\xff\xe0 a picture", CutReason.UNDECODABLE, id="a-picture"),
        pytest.param(carried(Birth(1, "0.1.0", 1, "bench")), CutReason.UNEXPECTED, id="the-mouth's-own-words"),
        pytest.param(carried(FetchAlarm(1, "0" * 16, 1, 1)), CutReason.UNEXPECTED, id="the-mouth's-own-alarm"),
        pytest.param(encode(Received(1, 1)), CutReason.UNDECODABLE, id="the-wrong-way-round"),
        pytest.param(carried(Gap(1, 0, 0)), CutReason.UNEXPECTED, id="a-gap-that-ends-before-it-starts"),
        pytest.param(encode(Carried(1, 1, Raw(b"\xc4\x04abcd"))), CutReason.UNDECODABLE, id="bytes-as-a-record"),
    ],
)
def test_a_hostile_eye_is_cut_off(world: World, packet: bytes, reason: CutReason) -> None:
    world.eye_sock.send(packet)
    with pytest.raises(LinkCutError) as cut:
        world.mouth.receive()
    assert cut.value.reason is reason


def test_a_file_descriptor_pushed_over_the_link_cuts_the_eye_off_and_is_not_received(world: World) -> None:
    reading, writing = os.pipe()
    try:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writing]))]
        world.eye_sock.sendmsg([carried(a_window(1))], rights)
        open_before = set(Path("/proc/self/fd").iterdir())
        with pytest.raises(LinkCutError) as cut:
            world.mouth.receive()
        assert cut.value.reason is CutReason.ANCILLARY
        assert set(Path("/proc/self/fd").iterdir()) == open_before
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        pytest.param(b"", CutReason.EMPTY, id="empty"),
        pytest.param(b"\x00" * 2000, CutReason.TRUNCATED, id="longer-than-allowed"),
        pytest.param(b"\x93\x02", CutReason.UNDECODABLE, id="half-a-message"),
        pytest.param(encode(Received(1_700_000_000_000, 99)), CutReason.UNEXPECTED, id="acknowledges-the-unsaid"),
    ],
)
def test_a_hostile_mouth_is_cut_off(world: World, packet: bytes, reason: CutReason) -> None:
    world.mouth_sock.send(packet)
    with pytest.raises(LinkCutError) as cut:
        world.eye.pump()
    assert cut.value.reason is reason


def test_a_document_is_announced_by_name_and_hash_alone(world: World) -> None:
    document = DocumentReady("site", "ab" * 32)
    assert world.mouth.announce(document)
    assert world.eye.pump() == [document]


def test_an_eye_that_pushes_a_picture_as_counts_is_cut_off_within_its_budget(world: World) -> None:
    budget = budget_of(a_camera(lines=2), 900, STRICTEST)
    world.budgets = {"gare": budget}
    world.start_mouth()
    world.eye_sock.send(carried(a_context(), 1))
    passed = len(carried(a_context(), 1))
    number = context_number_of(a_context())

    def push() -> None:
        nonlocal passed
        for seq in range(2, 100_000):
            packet = carried(a_window(seq, number), seq)
            world.eye_sock.send(packet)
            while world.mouth.receive() is not None:
                pass
            passed += len(packet)

    with pytest.raises(LinkCutError) as cut:
        push()
    assert cut.value.reason is CutReason.BUDGET
    assert passed <= budget.burst_bytes
    assert leak_bytes_per_day([budget]) < 250_000


def test_an_honest_eye_whose_mouth_was_away_for_weeks_is_never_cut_off() -> None:
    world = World({"gare": budget_of(a_camera(lines=2), 900, STRICTEST)})
    try:
        number = context_number_of(a_context())
        world.hold.say(a_context())
        for n in range(20 * 96 * 2):
            world.hold.say(a_window(n, number))
        for _ in range(2000):
            world.clock.advance(60.0)
            world.turn()
            if not len(world.hold):
                break
        assert world.stored == list(range(20 * 96 * 2))
    finally:
        world.close()


def test_a_roll_up_passes_as_every_statistic_does(world: World) -> None:
    world.eye_sock.send(carried(RollUp(1, 1, 3600, 0, 0, 1, 7)))
    assert world.mouth.receive() is not None


def test_a_camera_of_yesterdays_site_passes_on_the_share_of_the_others(world: World) -> None:
    for packet in (carried(a_health(1, "gone"), 1), carried(a_window(1, 12345), 2)):
        world.eye_sock.send(packet)
        assert world.mouth.receive() is not None


def test_the_sizes_the_budget_counts_with_are_the_largest_there_are() -> None:
    most = 0xFFFF_FFFF
    window = CrossingWindow(most, most, 86_400, 63, 100, 1200, 127, (1_000_000,) * 12)
    health = CameraHealth("c" * 32, most, 6, 1200, 1_000_000, 1_000_000)
    high = 0xFFFF_FFFF_FFFF
    assert len(encode(Carried(high, high, Raw(encode_record(window))))) == WINDOW_BYTES
    assert len(encode(Carried(high, high, Raw(encode_record(health))))) == TECHNICAL_BYTES
    context = Context("c" * 32, "30189", *["0" * 16] * 3, (0, 1, 2, 3, 4, 5), ("l" * 24,) * 16, ("z" * 24,) * 16)
    assert len(encode(Carried(high, high, Raw(encode_record(context))))) <= CONTEXT_BYTES


def test_a_full_day_of_honest_windows_stays_within_the_budget() -> None:
    clock = HandClock()
    bucket = TokenBucket(budget_of(a_camera(lines=16), 900, STRICTEST), clock)
    for _ in range(2 * 96):
        clock.advance(900)
        assert all(bucket.take(WINDOW_BYTES) for _ in range(16))
        assert all(bucket.take(TECHNICAL_BYTES) for _ in range(22))
        assert all(bucket.take(ROLL_UP_BYTES) for _ in range(16))


MOST = 0xFFFF_FFFF
MANY = 1_000_000


@pytest.mark.parametrize(
    ("record", "size_bytes"),
    [
        pytest.param(RollUp(MOST, MOST, 86_400, 63, 5, 1, MANY), ROLL_UP_BYTES, id="roll-up"),
        pytest.param(OccupancyWindow(MOST, MOST, 86_400, 63, 100, 127, (MANY,) * 12), OCCUPANCY_BYTES, id="occupancy"),
        pytest.param(StayWindow(MOST, MOST, 86_400, 63, 100, 127, 5, (MANY,) * 8, 10_000_000), STAY_BYTES, id="stays"),
        pytest.param(ObjectWindow(MOST, MOST, 86_400, 63, 100, 127, 10_000_000), OBJECT_BYTES, id="objects"),
        pytest.param(SpeedWindow(MOST, MOST, 86_400, 63, 1, MANY, (3000,) * 3), SPEED_BYTES, id="speeds"),
        pytest.param(RoadState(MOST, MOST, 86_400, 63, 4, MANY, 100, 10_000), ROAD_BYTES, id="road"),
        pytest.param(StreetEvent(MOST, MOST, 2, 63, MOST, 1), EVENT_BYTES, id="event"),
        pytest.param(Validation(MOST, (MANY,) * 18), VALIDATION_BYTES, id="validation"),
        pytest.param(ViewAlarm("c" * 32, MOST, 15, 1000), TECHNICAL_BYTES, id="view"),
    ],
)
def test_no_record_is_larger_than_the_budget_counts_with(record: Record, size_bytes: int) -> None:
    size = len(encode(Carried(0xFFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF, Raw(encode_record(record)))))
    assert size_bytes - 15 <= size <= size_bytes


def a_camera(lines: int = 1, **keys: object) -> Camera:
    return Camera("gare", "30189", "/street.mp4", line=(LINE,) * lines, **keys)


@pytest.mark.parametrize(
    ("more", "permissions", "bytes_a_day"),
    [
        pytest.param({"zone": (BAY,)}, STRICTEST, 96 * (OCCUPANCY_BYTES + 6 * STAY_BYTES), id="a-zone"),
        pytest.param(
            {"zone": (BAY,), "labels": ("car",)}, STRICTEST, 96 * (OCCUPANCY_BYTES + STAY_BYTES), id="a-zone-of-cars"
        ),
        pytest.param({"ground": Ground(SQUARE, SQUARE)}, STRICTEST, 96 * 2 * SPEED_BYTES, id="speeds-both-ways"),
        pytest.param({}, BENCH, 24 * 60 * EVENT_BYTES, id="events-where-they-are-permitted"),
    ],
)
def test_the_budget_grows_by_what_is_asked_for(
    more: dict[str, object], permissions: Permissions, bytes_a_day: int
) -> None:
    plain, fuller = (
        budget_of(a_camera(**keys), 900, allowed) for keys, allowed in (({}, STRICTEST), (more, permissions))
    )
    assert (fuller.rate_bytes_s - plain.rate_bytes_s) * 86_400 == pytest.approx(bytes_a_day)
    assert fuller.burst_bytes > plain.burst_bytes


def test_a_road_state_has_a_budget_only_where_aggregates_are_permitted() -> None:
    road = a_camera(zone=(Zone("bay", SQUARE, road=True),))
    square = a_camera(zone=(Zone("bay", SQUARE),))
    assert budget_of(road, 900, STRICTEST) == budget_of(square, 900, STRICTEST)
    assert budget_of(road, 900, BENCH).rate_bytes_s > budget_of(square, 900, BENCH).rate_bytes_s


@pytest.mark.parametrize(
    ("classes", "events", "is_open"),
    [
        pytest.param(frozenset(MessageClass), frozenset(EventKind), True, id="permitted"),
        pytest.param(frozenset(MessageClass), frozenset(), False, id="no-kind-permitted"),
        pytest.param(frozenset({MessageClass.STATISTICS}), frozenset(EventKind), False, id="class-not-permitted"),
    ],
)
def test_events_have_a_budget_only_where_they_are_permitted(
    classes: frozenset[MessageClass], events: frozenset[EventKind], *, is_open: bool
) -> None:
    budget = event_budget(Permissions("signed", classes, events=events))
    assert (budget.burst_bytes > 0) is is_open
    assert (budget.rate_bytes_s > 0) is is_open


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(lambda number: RollUp(number, 1, 3600, 0, 0, 0, 9), id="roll-up"),
        pytest.param(lambda number: OccupancyWindow(number, 1, 900, 0, 99, 0, (1,) * 12), id="occupancy"),
        pytest.param(lambda number: StayWindow(number, 1, 900, 0, 99, 0, 2, (1,) * 8, 0), id="stays"),
        pytest.param(lambda number: ObjectWindow(number, 1, 900, 0, 99, 0, 60), id="objects"),
        pytest.param(lambda number: SpeedWindow(number, 1, 900, 0, 0, 9, (1, 2, 3)), id="speeds"),
        pytest.param(lambda number: RoadState(number, 1, 300, 0, 0, 9, 9, 9), id="road"),
        pytest.param(lambda number: StreetEvent(number, 1, 0, 0, 1, 0), id="event"),
        pytest.param(lambda number: Validation(number, (900, 900, 50) * 6), id="validation"),
        pytest.param(lambda _: ViewAlarm("gare", 1, 8, 30), id="view"),
    ],
)
def test_every_kind_passes_on_the_share_of_its_camera(record) -> None:
    world = World({"gare": Budget(0.0, 400), "parc": WIDE})
    try:
        context = a_context()
        told = record(context_number_of(context))
        world.eye_sock.send(carried(context, 1))
        assert world.mouth.receive() is not None

        def tell_for_ever() -> None:
            for seq in range(2, 100):
                world.eye_sock.send(carried(told, seq))
                assert world.mouth.receive() is not None

        with pytest.raises(LinkCutError) as cut:
            tell_for_ever()
        assert cut.value.reason is CutReason.BUDGET
    finally:
        world.close()


@given(st.lists(st.tuples(st.floats(0, 1000), st.integers(1, 5000)), max_size=200))
def test_no_pattern_of_asking_passes_more_than_the_budget(asked: list[tuple[float, int]]) -> None:
    clock = HandClock()
    budget = Budget(10.0, 3000)
    bucket, passed = TokenBucket(budget, clock), 0
    for wait_s, size in asked:
        clock.advance(wait_s)
        passed += size * bucket.take(size)
    assert passed <= budget.burst_bytes + budget.rate_bytes_s * clock.elapsed_s() + 1


def test_a_context_names_its_camera_for_the_windows_that_follow() -> None:
    clock = HandClock()
    allowances = Allowances({"gare": Budget(0.0, 200)}, Budget(0.0, 0), clock)
    context: Context = a_context()
    window = a_window(1, context_number_of(context))
    assert not allowances.allow(window, 50)
    allowances.learn(context_number_of(context), "gare")
    assert allowances.allow(window, 50)
