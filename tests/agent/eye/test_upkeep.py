"""Stills come and days go as allowed, whatever clock and disk do; every day that goes is told of."""

import errno
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from box_builders import HandClock
from clip_builders import FIRST_MAY, FIRST_MAY_MS, JPEG, a_reckoning, a_store
from eye_builders import a_frame, a_street, sprite_package, white_faces_package
from veilleur_agent.clip_store import ClipStore
from veilleur_agent.events import check_event
from veilleur_agent.eye.detect import Detector
from veilleur_agent.eye.hold import DELAY_FRAMES
from veilleur_agent.eye.records import no_detections
from veilleur_agent.eye.retention import DAY_MS
from veilleur_agent.eye.scheduler import Analysed
from veilleur_agent.eye.stills import WARM_FRAMES, Checks, Stills
from veilleur_agent.eye.upkeep import DESTROYED_AT_ONCE, Allowed, Upkeep
from veilleur_agent.freezes import Freeze, put_freeze
from veilleur_contracts.audit import ClipsDestroyed, ClockJumped
from veilleur_contracts.messages import ClipFault, ClipsHeld

AVENUE = "avenue"
FIFTEEN = {AVENUE: Allowed(keeps=True, days=15)}
NOTHING = {AVENUE: Allowed(keeps=False, days=0)}
STEP_H = 6
BURST = WARM_FRAMES + DELAY_FRAMES + 1


class Eye:
    """An upkeep with its clock, its store and its log."""

    def __init__(self, folder: Path, checks: Checks | None = None, *, at_ms: int = FIRST_MAY_MS) -> None:
        self.clock = HandClock(at_ms)
        self.folder, self.store = folder, ClipStore(folder / "clips", free_min=0)
        self.told: list[tuple[str, dict[str, object]]] = []
        self.stills = {} if checks is None else {AVENUE: Stills(20, checks)}
        self.upkeep = self.started()

    def started(self) -> Upkeep:
        freezes = self.folder / "freezes"
        return Upkeep(self.store, freezes, self.stills, clock=self.clock, tell=self.tell, is_set=True)

    def tell(self, event: str, **values: object) -> None:
        assert check_event(event, values) is not None, (event, values)
        self.told.append((event, values))

    def events(self, name: str) -> list[dict[str, object]]:
        return [values for event, values in self.told if event == name]

    def turn(self, allowed=FIFTEEN, *, is_set: bool = True) -> list:
        return list(self.upkeep.turn(allowed, is_set=is_set))

    def run_for(self, days: float, allowed=FIFTEEN) -> list:
        """Let the box run, and return what the audit says meanwhile."""
        happened = []
        for _ in range(round(days * 24 / STEP_H)):
            self.clock.advance(3600 * STEP_H)
            happened += self.turn(allowed)
        return happened

    def days(self) -> list:
        return [one.day for one in self.store.lain()]

    def film(self, frames: int, *, in_good_view: bool = True) -> None:
        picture = a_street()
        picture[:90] += 80
        for number in range(frames):
            frame = a_frame(picture, camera=AVENUE, number=number, at_ms=self.clock.now_ms())
            self.upkeep.take(Analysed(frame, no_detections(), None), in_good_view=in_good_view)
            self.clock.advance(0.2)


@pytest.fixture(scope="module")
def checks() -> Iterator[Checks]:
    with Detector(sprite_package()) as people, Detector(white_faces_package()) as faces:
        yield Checks(people, faces)


def gone(*days: int) -> list[ClipsDestroyed]:
    return [ClipsDestroyed(AVENUE, FIRST_MAY + timedelta(day)) for day in days]


def test_days_go_one_by_one_in_their_time_and_each_is_told(tmp_path) -> None:
    a_store(tmp_path / "clips", 5)
    eye = Eye(tmp_path, at_ms=FIRST_MAY_MS + 4 * DAY_MS)
    allowed = {AVENUE: Allowed(keeps=True, days=5)}
    assert eye.turn(allowed) == []
    happened = eye.run_for(3, allowed)
    assert happened == gone(0, 1, 2)
    eye.turn(allowed)
    assert eye.days() == [FIRST_MAY + timedelta(day) for day in (3, 4)]
    assert len(list((tmp_path / "clips" / "days").iterdir())) == 2
    assert [event["why"] for event in eye.events("clips.destroyed")] == ["old"] * 3


def test_at_start_what_should_have_gone_meanwhile_goes_at_once_without_any_network(tmp_path) -> None:
    a_store(tmp_path / "clips", 3)
    eye = Eye(tmp_path, at_ms=FIRST_MAY_MS + 16 * DAY_MS)
    assert eye.turn() == gone(0, 1)


def test_a_tighter_limit_applies_at_once_and_strictness_leaves_nothing(tmp_path) -> None:
    a_store(tmp_path / "clips", 4)
    eye = Eye(tmp_path, at_ms=FIRST_MAY_MS + 3 * DAY_MS)
    assert eye.turn() == []
    assert eye.turn({AVENUE: Allowed(keeps=True, days=2)}) == gone(0, 1)
    assert eye.turn(NOTHING) == gone(2, 3)
    eye.turn(NOTHING)
    assert list((tmp_path / "clips").rglob("*.*")) == []
    assert [event["why"] for event in eye.events("clips.destroyed")] == ["old"] * 2 + ["not-allowed"] * 2


def test_many_days_go_turn_by_turn_and_each_is_told_once(tmp_path) -> None:
    store = a_store(tmp_path / "clips")
    for number in range(DESTROYED_AT_ONCE + 6):
        store.add(f"cam-{number}", FIRST_MAY_MS, JPEG, a_reckoning())
    eye = Eye(tmp_path)
    turns = [eye.turn(NOTHING) for _ in range(3)]
    assert [len(happened) for happened in turns] == [DESTROYED_AT_ONCE, 6, 0]
    assert len({entry for happened in turns for entry in happened}) == DESTROYED_AT_ONCE + 6
    assert eye.days() == []


def test_a_frozen_day_outlives_its_limit_and_goes_when_it_is_thawed(tmp_path) -> None:
    a_store(tmp_path / "clips", 2)
    until = FIRST_MAY + timedelta(20)
    put_freeze(tmp_path / "freezes", Freeze(AVENUE, FIRST_MAY, until, "PR Nîmes 26/1234", ("A. Un", "B. Deux")))
    eye = Eye(tmp_path, at_ms=FIRST_MAY_MS + DAY_MS)
    assert eye.turn(NOTHING) == gone(1)
    assert eye.run_for(18, NOTHING) == []
    assert len(list(eye.store.stills(AVENUE, FIRST_MAY))) == 2
    assert eye.run_for(3, NOTHING) == gone(0)


def test_an_unreadable_freeze_holds_for_a_month_and_a_folder_that_refuses_holds_everything(tmp_path) -> None:
    a_store(tmp_path / "clips", 1)
    (tmp_path / "freezes").mkdir()
    (tmp_path / "freezes" / f"{AVENUE}.{FIRST_MAY}.json").write_bytes(b"{")
    eye = Eye(tmp_path)
    assert eye.turn(NOTHING) == []
    assert eye.run_for(30, NOTHING) == []
    assert eye.run_for(3, NOTHING) == gone(0)
    other = tmp_path / "other"
    a_store(other / "clips", 1)
    (other / "freezes").write_bytes(b"")
    refused = Eye(other)
    assert refused.turn(NOTHING) == []
    assert refused.events("clips.refused") == [{"what": "store"}]


def test_a_clock_set_back_extends_nothing_and_is_told_once(tmp_path) -> None:
    a_store(tmp_path / "clips", 1)
    eye = Eye(tmp_path)
    eye.turn()
    eye.clock.at_ms = 0
    (jump,) = eye.turn()
    assert jump == ClockJumped(-FIRST_MAY_MS // 1000)
    assert eye.run_for(14.5) == []
    assert eye.run_for(1) == gone(0)
    assert eye.events("clock.jumped") == [{"by_s": -FIRST_MAY_MS // 1000}]


def test_a_clock_set_back_while_the_box_is_off_extends_nothing_either(tmp_path) -> None:
    a_store(tmp_path / "clips", 1)
    eye = Eye(tmp_path)
    eye.run_for(14)
    eye.upkeep.close()
    eye.clock.at_ms = 0
    eye.upkeep = eye.started()
    assert eye.turn() == [ClockJumped(-(FIRST_MAY_MS + 14 * DAY_MS) // 1000)]
    assert eye.run_for(1) == gone(0)


def test_a_clock_set_to_2100_lets_everything_go_but_what_is_frozen_and_the_eye_goes_on(tmp_path, checks) -> None:
    a_store(tmp_path / "clips", 2)
    put_freeze(
        tmp_path / "freezes", Freeze(AVENUE, FIRST_MAY, FIRST_MAY + timedelta(30), "PR 26/1234", ("A. Un", "B. Deux"))
    )
    eye = Eye(tmp_path, checks, at_ms=FIRST_MAY_MS + DAY_MS)
    assert eye.turn() == []
    eye.clock.at_ms = 4_102_444_800_000
    jump, *happened = eye.turn()
    assert isinstance(jump, ClockJumped)
    assert happened == gone(1)
    eye.clock.at_ms = FIRST_MAY_MS + 2 * DAY_MS
    (back,) = eye.turn()
    assert isinstance(back, ClockJumped)
    eye.film(BURST)
    assert eye.days() == [FIRST_MAY, FIRST_MAY + timedelta(2)], "new stills are kept, and counted from then on"
    assert eye.run_for(14) == []
    assert eye.run_for(1) == gone(2)


def test_a_day_whose_key_is_gone_is_told_and_removed_also_when_a_crash_came_between(tmp_path) -> None:
    store = a_store(tmp_path / "clips", 2)
    store.destroy_key(AVENUE, FIRST_MAY)
    eye = Eye(tmp_path)
    assert eye.turn() == gone(0)
    assert eye.events("clips.destroyed") == [{"camera": AVENUE, "why": "key-gone"}]
    assert len(list((tmp_path / "clips" / "days").iterdir())) == 2, "the file goes once it has been told"
    again = Eye(tmp_path)
    assert again.turn() == gone(0), "told twice rather than never"
    again.turn()
    assert again.days() == [FIRST_MAY + timedelta(1)]


def test_stills_are_kept_sealed_where_that_is_allowed(tmp_path, checks) -> None:
    eye = Eye(tmp_path, checks)
    eye.film(BURST)
    assert eye.days() == [], "nothing is kept before anybody has allowed it"
    eye.turn()
    eye.film(BURST)
    (still,) = eye.store.stills(AVENUE, FIRST_MAY)
    assert still.jpeg[:3] == b"\xff\xd8\xff"
    assert eye.events("camera.keeping_changed") == [{"camera": AVENUE, "keeps": True, "why": "none"}]
    eye.turn(NOTHING)
    eye.film(120)
    assert eye.turn(NOTHING) == []
    assert eye.days() == []
    assert eye.events("camera.keeping_changed")[1:] == [{"camera": AVENUE, "keeps": False, "why": "not-allowed"}]


def test_a_still_begun_behind_other_masks_is_never_kept(tmp_path, checks) -> None:
    eye = Eye(tmp_path, checks)
    eye.turn()
    eye.film(BURST - 1)
    masked = {AVENUE: Allowed(keeps=True, days=15, masks=frozenset({((0, 0), (5000, 0), (0, 5000))}))}
    eye.turn(masked)
    eye.film(20)
    assert eye.days() == []
    eye.clock.advance(20)
    eye.film(BURST)
    assert eye.days() == [FIRST_MAY]


@pytest.mark.parametrize(
    ("is_set", "in_good_view"), [(False, True), (True, False)], ids=["clock-not-set", "view-moved"]
)
def test_no_still_is_kept_without_a_clock_or_in_a_view_that_moved(tmp_path, checks, is_set, in_good_view) -> None:
    eye = Eye(tmp_path, checks)
    eye.turn(is_set=is_set)
    eye.film(BURST, in_good_view=in_good_view)
    assert eye.days() == []


def test_a_clock_that_is_not_set_is_given_as_the_reason_until_it_is_set(tmp_path, checks) -> None:
    eye = Eye(tmp_path, checks)
    for is_set, why in ((False, "clock"), (True, "none"), (False, "clock")):
        eye.turn(is_set=is_set)
        assert eye.events("camera.keeping_changed")[-1] == {"camera": AVENUE, "keeps": is_set, "why": why}
        assert eye.store.reckoning().is_set is is_set, "where `clips list` reads it"
        eye.turn(is_set=is_set)
    assert len(eye.events("camera.keeping_changed")) == 3


def test_a_covered_camera_says_that_its_still_is_withheld(tmp_path, checks) -> None:
    eye = Eye(tmp_path, checks)
    eye.turn()
    picture = a_street() // 8
    for number in range(BURST):
        frame = a_frame(picture, camera=AVENUE, number=number, at_ms=eye.clock.now_ms())
        eye.upkeep.take(Analysed(frame, no_detections(), None), in_good_view=True)
    assert eye.events("still.withheld") == [{"camera": AVENUE}]
    assert eye.days() == []


def test_what_is_held_is_said_at_start_at_a_change_each_hour_and_when_something_is_wrong(tmp_path) -> None:
    a_store(tmp_path / "clips", 2)
    eye = Eye(tmp_path, at_ms=FIRST_MAY_MS + DAY_MS)
    eye.turn()
    first = (eye.clock.now_ms() // 1000, 2, 0, 86_400, 1, 0)
    assert eye.upkeep.due() == [ClipsHeld(*first)]
    eye.clock.advance(3599)
    assert eye.upkeep.due() == []
    eye.clock.advance(1)
    (hourly,) = eye.upkeep.due()
    assert (hourly.days, hourly.faults) == (2, 0)
    eye.turn({AVENUE: Allowed(keeps=True, days=1)})
    assert eye.upkeep.due() == [], "never more than once a minute"
    eye.clock.advance(61)
    (changed,) = eye.upkeep.due()
    assert changed.days == 2, "one has no key any more, and its file goes with the next turn"
    eye.clock.at_ms = 0
    eye.turn()
    eye.clock.advance(61)
    (jumped,) = eye.upkeep.due()
    assert (jumped.days, jumped.faults) == (1, ClipFault.CLOCK_JUMPED)
    eye.clock.advance(700)
    assert [held.faults for held in eye.upkeep.due()] == [0], "said too when it is over"


def test_a_box_that_keeps_nothing_says_nothing_of_it(tmp_path) -> None:
    eye = Eye(tmp_path)
    eye.turn(NOTHING)
    assert eye.upkeep.due() == []


def test_a_store_that_cannot_be_looked_into_is_told(tmp_path) -> None:
    eye = Eye(tmp_path)
    eye.turn()
    (tmp_path / "freezes").write_bytes(b"")
    assert eye.upkeep.due() == []
    assert eye.events("clips.refused") == [{"what": "store"}]
    eye.clock.advance(61)
    (tmp_path / "freezes").unlink()
    assert [held.faults for held in eye.upkeep.due()] == [ClipFault.DISK_REFUSES]


def test_a_full_store_stops_the_keeping_and_nothing_else(tmp_path, checks) -> None:
    eye = Eye(tmp_path, checks)
    eye.store = ClipStore(tmp_path / "clips", bytes_max=10, free_min=0)
    eye.upkeep = eye.started()
    eye.turn()
    eye.film(4 * BURST)
    assert eye.events("clips.refused") == [{"what": "full"}], "told now and then, not at every still"


def test_a_store_that_cannot_be_made_is_told_and_tried_again(tmp_path, checks) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "keys").write_bytes(b"in the way")
    eye = Eye(tmp_path, checks)
    assert eye.turn() == []
    eye.film(BURST)
    eye.upkeep.close()
    assert eye.events("clips.refused") == [{"what": "store"}]
    (tmp_path / "clips" / "keys").unlink()
    eye.turn()
    eye.film(BURST)
    assert eye.days() == [FIRST_MAY]


class Refusing(ClipStore):
    """A store on a disk that refuses what it is told to."""

    refused = ""

    def destroy_key(self, camera, day) -> None:
        self._refuse("key")
        super().destroy_key(camera, day)

    def remove(self, camera, day) -> None:
        self._refuse("file")
        super().remove(camera, day)

    def _append(self, *given) -> None:
        self._refuse("picture")
        super()._append(*given)

    def _refuse(self, what: str) -> None:
        if self.refused == what:
            raise OSError(errno.EIO, "Input/output error")


def test_a_disk_that_refuses_is_told_and_what_must_go_goes_when_it_can(tmp_path, checks) -> None:
    a_store(tmp_path / "clips", 1)
    eye = Eye(tmp_path, checks)
    eye.store = store = Refusing(tmp_path / "clips", free_min=0)
    eye.upkeep = eye.started()
    store.refused = "picture"
    eye.turn()
    eye.film(BURST)
    store.refused = "key"
    assert eye.turn(NOTHING) == []
    store.refused = "file"
    assert eye.turn(NOTHING) == gone(0), "tried again at the next turn"
    assert eye.run_for(STEP_H / 24, NOTHING) == []
    assert len(list((tmp_path / "clips" / "days").iterdir())) == 1
    store.refused = ""
    eye.turn(NOTHING)
    assert list((tmp_path / "clips" / "days").iterdir()) == []
    assert [event["what"] for event in eye.events("clips.refused")] == ["disk", "key", "store"]


def test_the_reckoning_outlives_a_crash_by_a_minute_at_most(tmp_path) -> None:
    eye = Eye(tmp_path)
    eye.turn()
    eye.clock.advance(61)
    eye.turn()
    kept = eye.store.reckoning()
    assert kept is not None
    assert kept.aged == FIRST_MAY_MS + 61_000
    assert kept == a_reckoning(FIRST_MAY_MS + 61_000)
    assert JPEG not in (tmp_path / "clips" / "reckoning").read_bytes()
