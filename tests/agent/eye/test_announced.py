"""What comes through the mouth: an honest one is believed no more than a name, and a lying one gains nothing."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from box_builders import HandClock
from policy_builders import NOW, CityHall, a_policy, key_of, signed
from veilleur_agent.eye.announced import BYTES_A_TURN, HEARD, Announced
from veilleur_agent.eye.mandate import FixedMandate, Papers, SignedMandate, Turn
from veilleur_contracts.audit import DocumentRefused, PolicyTaken, RootTaken, StopTaken
from veilleur_contracts.envelope import ENVELOPE_BYTES_MAX, DocumentType, read_envelope
from veilleur_contracts.messages import TWIN_DOCUMENTS_MAX, DocumentReady, Refusal
from veilleur_contracts.policy import STRICTEST, is_within
from veilleur_contracts.policy_document import (
    CameraRules,
    Contact,
    Controller,
    Role,
    Rules,
    Scope,
    Stop,
    document_sha256,
)
from veilleur_contracts.site import Camera

CAMERA = Camera(id="gare", insee="30189", source="rtsp://10.0.0.7/main")
HALL = CityHall()
VILLE = frozenset({Controller.VILLE})


def policy_of(version: int = 1, **changes) -> bytes:
    return HALL.fully_signed(a_policy(version, cameras=(CameraRules("gare"),), **changes))


STOP = HALL.signed(Stop(Role.DPO_VILLE, NOW, Scope(VILLE), "Caméra sur une école."), Role.DPO_VILLE)
STOP_SHA256 = document_sha256(read_envelope(STOP).content())
LOOSE = HALL.signed(a_policy(2, cameras=(CameraRules("gare"),), default=Rules(person_cell_min=3)), Role.OPERATOR)


def word(minutes: float = 0, version: int = 1, stops: frozenset[str] = frozenset(), whose=VILLE) -> bytes:
    return HALL.signed(Contact(NOW + timedelta(minutes=minutes), version, stops, whose), Role.FLEET)


class Mouth:
    """Whoever stands at the other end of the link: it can write its folder and say names and hashes, and no more."""

    def __init__(self, folder: Path, hall: CityHall = HALL, root=None) -> None:
        self.folder, self.kept = folder / "fetched", folder / "standing"
        for one in (self.folder, folder / "offers"):
            one.mkdir(exist_ok=True)
        self.clock = HandClock(int(NOW.timestamp() * 1000))
        self.root = hall.signed_root(root)
        self.offers = folder / "offers"
        self.eye = self.begun()

    def begun(self) -> SignedMandate:
        return SignedMandate(
            self.root,
            Controller.VILLE,
            self.kept,
            self.offers,
            fetched=self.folder,
            clock=self.clock,
            tell=lambda *_, **__: None,
        )

    def put(self, data: bytes, sha256: str | None = None) -> str:
        name = sha256 or hashlib.sha256(data).hexdigest()
        (self.folder / f"{name}.dsse").write_bytes(data)
        return name

    def brings(self, *documents: bytes) -> Turn:
        """Put documents into the store, announce them, and let the eye look."""
        for data in documents:
            self.eye.announce(DocumentReady("document", self.put(data)))
        return self.eye.turn()

    @property
    def why(self) -> str | None:
        return self.eye.held(CAMERA).why


@pytest.fixture
def mouth(tmp_path) -> Mouth:
    one = Mouth(tmp_path)
    one.brings(policy_of(1), word())
    return one


def test_what_is_announced_is_taken_once_and_told_to_the_fleet(mouth: Mouth) -> None:
    assert mouth.why is None
    papers = mouth.eye.papers()
    assert (papers.root, papers.policy_version, papers.stops, papers.heard_s) == (1, 1, 0, int(NOW.timestamp()))
    assert papers.policy == mouth.eye.held(CAMERA).policy
    assert mouth.brings(policy_of(1)) == Turn(), "it has it"
    turn = mouth.brings(STOP)
    assert [type(one) for one in turn.happened] == [StopTaken]
    assert turn.dealt == (), "box has nothing to take away: the folder is the mouth's"
    assert mouth.why == "stopped"
    assert mouth.begun().held(CAMERA).why == "stopped", "on disk before the turn was over"


def test_what_lies_there_unannounced_is_not_looked_at(mouth: Mouth) -> None:
    mouth.put(STOP)
    assert mouth.eye.turn() == Turn()


def test_what_was_refused_is_looked_at_again_once_something_else_was_taken(tmp_path) -> None:
    mouth = Mouth(tmp_path)
    other = CityHall()
    other.keys[Role.OPERATOR] = [key_of(201)]
    tight = a_policy(2, cameras=(CameraRules("gare"),), default=Rules(person_cell_min=9))
    by_new_key = signed(tight, DocumentType.POLICY, [key_of(201)])
    assert [type(one) for one in mouth.brings(policy_of(1), by_new_key).happened] == [PolicyTaken, DocumentRefused]
    assert mouth.eye.papers().refusal is Refusal.UNKNOWN_KEY
    root = HALL.signed_root(other.root(2))
    assert [type(one) for one in mouth.brings(root).happened] == [RootTaken]
    assert [type(one) for one in mouth.eye.turn().happened] == [PolicyTaken]


def test_a_policy_with_too_few_signatures_changes_nothing_and_its_refusal_comes_back(mouth: Mouth) -> None:
    before = mouth.eye.held(CAMERA)
    turn = mouth.brings(LOOSE)
    sha256 = hashlib.sha256(LOOSE).hexdigest()
    assert turn.happened == (DocumentRefused("policy", sha256, "under-signed"),)
    assert mouth.eye.held(CAMERA) == before
    papers = mouth.eye.papers()
    assert (papers.refused, papers.refusal, papers.policy_version) == (sha256[:16], Refusal.UNDER_SIGNED, 1)
    assert mouth.brings(LOOSE) == Turn(), "told once"


def test_a_mouth_that_lies_about_hashes_links_and_sizes_is_not_believed(mouth: Mouth, tmp_path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(STOP)
    names = [mouth.put(STOP, "0" * 64), mouth.put(b"x" * (ENVELOPE_BYTES_MAX + 9)), "1" * 64, "2" * 64, "3" * 64]
    (mouth.folder / f"{'1' * 64}.dsse").symlink_to(secret)
    (mouth.folder / f"{'2' * 64}.dsse").mkdir()
    before = mouth.eye.held(CAMERA)
    for name in names:
        mouth.eye.announce(DocumentReady("stop", name))
    assert [one for one in mouth.eye.turn().happened if not isinstance(one, DocumentRefused)] == []
    assert mouth.eye.held(CAMERA) == before


def test_a_mouth_that_withholds_a_stop_the_fleet_told_of_stops_the_box_itself(mouth: Mouth) -> None:
    mouth.brings(word(1, stops=frozenset({STOP_SHA256})))
    assert mouth.why == "stopped"
    assert mouth.eye.papers().stops == 1


def test_a_mouth_that_withholds_a_newer_policy_is_found_out_in_a_quarter_of_an_hour(mouth: Mouth) -> None:
    mouth.clock.advance(60)
    mouth.brings(word(1, version=2))
    assert mouth.why is None, "time to fetch it"
    mouth.clock.advance(16 * 60)
    assert mouth.why == "behind"


def test_a_mouth_cannot_give_the_box_a_word_that_is_true_of_others(mouth: Mouth) -> None:
    mouth.brings(word(1, stops=frozenset({STOP_SHA256})))
    mouth.brings(word(2, whose=frozenset({Controller.AGGLO})))
    assert mouth.why == "stopped"
    mouth.brings(word(0.5))
    assert mouth.why == "stopped", "nor an older one"


def test_that_the_fleet_was_heard_counts_only_where_it_has_no_key_to_say_so(tmp_path) -> None:
    keyless = CityHall()
    del keyless.keys[Role.FLEET]
    for name, hall, counts in (("with", HALL, False), ("without", keyless, True)):
        folder = tmp_path / name
        folder.mkdir()
        mouth = Mouth(folder, hall)
        mouth.brings(policy_of(1))
        mouth.clock.advance(8 * 86_400)
        assert mouth.why == "no-contact"
        assert mouth.eye.announce(DocumentReady(HEARD, "0" * 64)) is False
        assert (mouth.why is None) is counts


def test_a_flood_costs_a_bounded_number_of_bytes_and_of_refusals(tmp_path) -> None:
    mouth = Mouth(tmp_path)
    junk = [bytes([n]) * (BYTES_A_TURN // 3) for n in range(9)]
    for data in junk:
        mouth.eye.announce(DocumentReady("policy", mouth.put(data)))
    assert mouth.eye.turn().happened == (), "longer than any document: their hashes cannot fit"
    lines = [f"junk {n}".encode() for n in range(3 * TWIN_DOCUMENTS_MAX)]
    told = [one for data in lines for one in mouth.brings(data).happened]
    assert 0 < len(told) <= 32
    mouth.brings(policy_of(1), word())
    assert mouth.why is None


def test_what_goes_beyond_a_turn_waits_for_the_next(tmp_path) -> None:
    clock = HandClock()
    announced = Announced(tmp_path, clock)
    names = []
    for n in range(6):
        data = bytes([n]) * ENVELOPE_BYTES_MAX
        names.append(hashlib.sha256(data).hexdigest())
        (tmp_path / f"{names[-1]}.dsse").write_bytes(data)
        assert announced.announce(names[-1])
    first = [name for name, _ in announced.due()]
    assert first == names[: BYTES_A_TURN // ENVELOPE_BYTES_MAX]
    announced.settle([], first)
    assert [name for name, _ in announced.due()] == names[len(first) :]
    assert not announced.announce(first[0]), "it was dealt with"


def test_no_document_changes_a_fixed_mandate() -> None:
    mandate = FixedMandate(STRICTEST)
    assert mandate.announce(DocumentReady("policy", "0" * 64)) is False
    assert mandate.papers() == Papers()


GENUINE = (
    *(policy_of(1), policy_of(1, default=Rules(person_cell_min=7)), STOP, LOOSE),
    *(HALL.signed(a_policy(3, default=Rules(person_cell_min=9)), Role.OPERATOR), HALL.signed_root(HALL.root(2))),
    *(word(1), word(2, stops=frozenset({STOP_SHA256})), word(3, whose=frozenset({Controller.AGGLO}))),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moves=st.lists(
        st.one_of(
            st.sampled_from(GENUINE),
            st.tuples(st.sampled_from(GENUINE), st.integers(0, 400), st.integers(1, 255)),
            st.binary(max_size=40),
        ),
        max_size=12,
    )
)
def test_whatever_a_hostile_mouth_brings_in_whatever_order_a_camera_may_never_do_more(tmp_path_factory, moves) -> None:
    mouth = Mouth(tmp_path_factory.mktemp("mouth"))
    mouth.brings(policy_of(1))
    most, is_stopped = mouth.eye.held(CAMERA).permissions, False
    for move in moves:
        data = move if isinstance(move, bytes) else _spoilt(*move)
        mouth.brings(data)
        now = mouth.eye.held(CAMERA)
        assert is_within(now.permissions, most)
        assert not (is_stopped and now.why != "stopped"), "nothing here lifts a stop"
        is_stopped = now.why == "stopped"


def _spoilt(data: bytes, place: int, change: int) -> bytes:
    spoilt = bytearray(data)
    spoilt[place % len(spoilt)] ^= change
    return bytes(spoilt)
