"""What the eye makes of the documents it finds: taken in any order, kept, refused once, never loosened by damage."""

import hashlib
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from box_builders import HandClock
from policy_builders import NOW, CityHall, a_policy, visa_of
from veilleur_agent.events import DOCUMENTS, REFUSALS, WHY, check_event
from veilleur_agent.eye.documents import OFFERS_MAX, offered_in, reason_of
from veilleur_agent.eye.mandate import (
    AUDIT_UNWRITABLE,
    MASKS_UNDECIDED,
    FixedMandate,
    SignedMandate,
    Turn,
    held_tight,
    may_still_be_told,
)
from veilleur_agent.eye.posts import NOT_STRICT
from veilleur_contracts.audit import DocumentRefused, PolicyTaken, RootTaken, StopLifted, StopTaken
from veilleur_contracts.envelope import DocumentType, short_name
from veilleur_contracts.messages import MessageClass
from veilleur_contracts.policy import (
    BENCH,
    LARGER_IS_TIGHTER,
    STOPPED,
    STRICTEST,
    AggregateKind,
    EventKind,
    Permissions,
    is_within,
)
from veilleur_contracts.policy_document import (
    RETENTION_DAYS_MAX,
    CameraRules,
    Controller,
    Images,
    PolicyRejectedError,
    Role,
    Rules,
    Scope,
    Stop,
)
from veilleur_contracts.policy_effect import LOOSEST_SIGNED, Effect, with_events
from veilleur_contracts.site import Camera
from veilleur_contracts.standing import WhyStrict

CAMERA = Camera(id="gare", insee="30189", source="rtsp://10.0.0.7/main")
HALL = CityHall()
MASKED = CameraRules("gare", masks=frozenset({((0, 0), (5000, 0), (0, 5000))}))
DAY_S = 86_400


def signed_policy(version: int = 1, **changes) -> bytes:
    return HALL.fully_signed(a_policy(version, cameras=(MASKED,), **changes))


def a_stop() -> bytes:
    scope = Scope(frozenset({Controller.VILLE}))
    return HALL.signed(Stop(Role.DPO_VILLE, NOW, scope, "Caméra sur une école."), Role.DPO_VILLE)


class Desk:
    """An eye's mandate, its folder of offers, and its log."""

    def __init__(self, folder: Path) -> None:
        self.offers, self.kept = folder / "offers", folder / "standing"
        self.fetched = folder / "fetched"
        for one in (self.offers, self.fetched):
            one.mkdir()
        self.clock = HandClock(int(NOW.timestamp() * 1000))
        self.told: list[tuple[str, dict[str, object]]] = []
        self.mandate = self.begun()

    def begun(self) -> SignedMandate:
        root = HALL.signed_root()
        return SignedMandate(
            root, Controller.VILLE, self.kept, self.offers, fetched=self.fetched, clock=self.clock, tell=self._tell
        )

    def _tell(self, event: str, **values: object) -> None:
        assert check_event(event, values) is not None
        self.told.append((event, values))

    def put(self, *documents: bytes) -> list[str]:
        names = [hashlib.sha256(one).hexdigest() for one in documents]
        for name, data in zip(names, documents, strict=True):
            (self.offers / f"{name}.dsse").write_bytes(data)
        return names

    def offer(self, *documents: bytes) -> Turn:
        """Put documents there and take away those that were dealt with, as box does."""
        self.put(*documents)
        turn = self.mandate.turn()
        for name in turn.dealt:
            (self.offers / f"{name}.dsse").unlink()
        return turn


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_before_any_policy_the_strictest_profile_holds_and_no_mask_is_decided(desk: Desk) -> None:
    held = desk.mandate.held(CAMERA)
    assert (held.permissions, held.why) == (STRICTEST, "no-policy")
    assert not held.permissions.masks_decided


def test_a_signed_policy_gives_its_masks_and_its_hash_and_outlives_a_restart(desk: Desk) -> None:
    turn = desk.offer(signed_policy())
    taken = turn.happened[0]
    assert isinstance(taken, PolicyTaken)
    for mandate in (desk.mandate, desk.begun()):
        held = mandate.held(CAMERA)
        assert (held.why, held.policy) == (None, taken.sha256[:16])
        assert held.permissions.masks == MASKED.masks


def test_documents_are_taken_in_whatever_order_they_lie_there(desk: Desk) -> None:
    root_2 = msgspec.structs.replace(HALL.root(), version=2)
    turn = desk.offer(signed_policy(2), a_stop(), HALL.signed_root(root_2), signed_policy(1))
    assert {type(one) for one in turn.happened} >= {RootTaken, PolicyTaken, StopTaken}
    assert len(turn.dealt) == 4
    assert desk.mandate.held(CAMERA).why == "stopped"


def test_a_stop_is_lifted_by_the_policy_that_names_it(desk: Desk) -> None:
    desk.offer(signed_policy(1))
    stopped = desk.offer(a_stop()).happened
    assert [type(one) for one in stopped] == [StopTaken]
    sha256 = stopped[0].sha256
    lifted = desk.offer(signed_policy(2, lifts=frozenset({sha256}))).happened
    assert lifted[1:] == (StopLifted(sha256, 2),)
    assert desk.mandate.held(CAMERA).why is None


def test_what_is_refused_is_told_once_and_dealt_with(desk: Desk) -> None:
    desk.offer(signed_policy(3))
    older = signed_policy(2)
    turn = desk.offer(older)
    assert turn.happened == (DocumentRefused("policy", hashlib.sha256(older).hexdigest(), "older"),)
    assert desk.mandate.turn() == Turn()
    assert ("document.refused", {"document": "policy", "reason": "older"}) in desk.told


def test_the_policy_in_force_offered_again_is_no_news(desk: Desk) -> None:
    desk.offer(signed_policy())
    turn = desk.offer(signed_policy())
    assert (turn.happened, len(turn.dealt)) == ((), 1)


def test_a_policy_of_tomorrow_waits_where_it_lies_and_is_taken_tomorrow(desk: Desk) -> None:
    desk.offer(signed_policy(1))
    later = signed_policy(2, issued=NOW + timedelta(days=1))
    assert [type(one) for one in desk.offer(later).happened] == [DocumentRefused]
    assert desk.mandate.turn() == Turn()
    desk.clock.advance(DAY_S)
    turn = desk.mandate.turn()
    assert [type(one) for one in turn.happened] == [PolicyTaken]
    assert len(turn.dealt) == 1


@pytest.mark.parametrize(
    ("days", "why"),
    [pytest.param(8, "no-contact", id="a-week-of-silence"), pytest.param(250, "expired", id="past-its-end")],
)
def test_time_alone_makes_it_strict_and_its_masks_stay(desk: Desk, days: int, why: str) -> None:
    desk.offer(signed_policy())
    desk.clock.advance(days * DAY_S)
    held = desk.mandate.held(CAMERA)
    assert (held.why, held.permissions.profile) == (why, "strictest")
    assert held.permissions.masks == MASKED.masks


@pytest.mark.parametrize("damage", [b"", b"\xff" * 50, b'{"controller":"ville"}'], ids=["empty", "noise", "cut"])
def test_a_damaged_standing_is_strict_until_the_policy_comes_again(desk: Desk, damage: bytes) -> None:
    desk.offer(signed_policy())
    desk.kept.write_bytes(damage)
    desk.mandate = desk.begun()
    assert desk.mandate.held(CAMERA).why == "no-policy"
    happened = desk.offer(signed_policy()).happened
    assert [type(one) for one in happened] == [DocumentRefused, PolicyTaken]
    assert desk.mandate.held(CAMERA).why is None


def test_what_cannot_be_kept_is_not_dealt_with(desk: Desk) -> None:
    desk.kept.mkdir()
    turn = desk.offer(signed_policy())
    assert turn.dealt == ()
    assert ("checkpoint.refused", {"what": "standing"}) in desk.told


def test_only_regular_files_named_by_their_hash_are_read_and_only_so_many(desk: Desk) -> None:
    (desk.offers / f"{'0' * 64}.dsse").write_bytes(b"another content")
    (desk.offers / "policy.dsse").write_bytes(b"no hash")
    (name,) = desk.put(b"real")
    (desk.offers / f"{'1' * 64}.dsse").symlink_to(desk.offers / f"{name}.dsse")
    (desk.offers / f"{'2' * 64}.dsse").mkdir()
    assert list(offered_in(desk.offers)) == [(name, b"real")]
    desk.put(*(str(number).encode() for number in range(OFFERS_MAX + 5)))
    assert len(list(offered_in(desk.offers))) <= OFFERS_MAX
    assert list(offered_in(desk.offers / "nowhere")) == []


@pytest.mark.parametrize("permissions", [BENCH, STRICTEST, STOPPED], ids=lambda one: one.profile)
def test_held_tight_is_never_more_than_was_held(permissions: Permissions) -> None:
    held = FixedMandate(permissions).held(CAMERA)
    tight = held_tight(held)
    assert is_within(tight.permissions, permissions)
    assert MessageClass.EVENT not in tight.permissions.classes
    assert tight.why == AUDIT_UNWRITABLE


@pytest.mark.parametrize(
    ("before", "now", "may"),
    [
        pytest.param(STRICTEST, STRICTEST, True, id="the-same"),
        pytest.param(STRICTEST, BENCH, True, id="looser"),
        pytest.param(BENCH, STRICTEST, False, id="longer-windows"),
        pytest.param(STRICTEST, STOPPED, False, id="stopped"),
        pytest.param(STRICTEST, msgspec.structs.replace(STRICTEST, person_cell_min=9), False, id="larger-cells"),
        pytest.param(STRICTEST, msgspec.structs.replace(STRICTEST, masks=MASKED.masks), True, id="other-masks"),
    ],
)
def test_what_was_counted_before_leaves_only_if_it_still_might(before, now, may) -> None:
    assert may_still_be_told(before, now) is may


def test_no_policy_gives_more_than_room_was_made_for() -> None:
    least = {name: Rules.__annotations__[name].__metadata__[0].ge for name in LARGER_IS_TIGHTER}
    everything = {"classes": frozenset(MessageClass), "aggregates": frozenset(AggregateKind)}
    rules = Rules(**least, **everything, images=Images(RETENTION_DAYS_MAX, 30, "Arrêté 1"))
    visa = visa_of(Role.DPO_VILLE, aggregates=frozenset(AggregateKind))
    lasting = Effect(a_policy(default=rules, visas=(visa,), cameras=(CameraRules("gare"),))).lasting("gare", "30189")
    loosest = with_events(lasting, frozenset(EventKind))
    assert loosest == LOOSEST_SIGNED


def test_every_word_the_eye_has_for_a_refusal_is_registered() -> None:
    def kinds(error: type) -> set[type]:
        return {error}.union(*(kinds(one) for one in error.__subclasses__()))

    assert {reason_of(kind("")) for kind in kinds(PolicyRejectedError) - {PolicyRejectedError}} == set(REFUSALS)
    assert {*(why.value for why in WhyStrict), AUDIT_UNWRITABLE, MASKS_UNDECIDED, NOT_STRICT} == set(WHY)
    assert {*(short_name(kind) for kind in DocumentType), "standing", "unknown"} == set(DOCUMENTS)
