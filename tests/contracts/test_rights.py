"""The role matrix, and how tokens are written: pure, and the whole of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_contracts.enrolment import (
    EnrolmentRejectedError,
    EnrolRequest,
    Token,
    read_fingerprint,
    write_fingerprint,
)
from veilleur_contracts.ids import is_slug
from veilleur_contracts.messages import MessageClass
from veilleur_contracts.rights import CONSUMES, HolderRejectedError, Rights, Role, holder_of, rights_of, service_of
from veilleur_contracts.topics import Down, Up, read_up_topic


def test_a_box_says_on_its_own_topics_and_hears_its_own() -> None:
    rights = rights_of(holder_of(Role.BOX, "gare-01", "ville"))
    assert [read_up_topic(topic).channel for topic in rights.says] == list(Up)
    assert {(read_up_topic(topic).controller, read_up_topic(topic).box) for topic in rights.says} == {
        ("ville", "gare-01")
    }
    assert len(rights.hears) == len(Down)
    assert all("/gare-01/dn/" in topic for topic in rights.hears)


def test_the_fleet_hears_every_box_and_tells_boxes_and_consumers() -> None:
    rights = rights_of(holder_of(Role.FLEET, "main", None))
    assert rights.hears == ("veilleur/v1/+/+/+/up/#",)
    assert {"veilleur/v1/+/+/+/dn/ack", "veilleur/v1/+/out/#"} <= set(rights.says)


@pytest.mark.parametrize("role", CONSUMES)
def test_a_consumer_says_nothing_and_hears_its_classes(role) -> None:
    of_one, of_all = (rights_of(holder_of(role, "portal", controller)) for controller in ("agglo", None))
    assert of_one == Rights(hears=tuple(f"veilleur/v1/agglo/out/{kind.value}/#" for kind in CONSUMES[role]))
    assert of_all.says == ()
    assert all(topic.startswith("veilleur/v1/+/out/") for topic in of_all.hears)


def test_only_the_control_centre_hears_events_one_by_one() -> None:
    assert [role for role, kinds in CONSUMES.items() if MessageClass.EVENT in kinds] == [Role.CONTROL_CENTRE]


def test_nobody_may_do_nothing_at_all() -> None:
    assert rights_of(None) == Rights()


def test_a_service_has_no_rights_but_those_that_the_fleet_gives_it() -> None:
    service = holder_of(Role.SERVICE, "crisis-room", None)
    assert (rights_of(service), service_of(service)) == (Rights(), "crisis-room")
    assert service_of(holder_of(Role.TRAFFIC, "crisis-room", None)) is None


def test_no_box_can_be_called_like_somebody_else() -> None:
    for role in Role:
        if role is not Role.BOX:
            assert not is_slug(holder_of(role, "a", None).name)


@pytest.mark.parametrize(
    ("role", "name", "controller"),
    [
        (Role.BOX, "gare-01", None),
        (Role.BOX, "Gare", "ville"),
        (Role.BOX, "gare/01", "ville"),
        (Role.BOX, "+", "ville"),
        (Role.BOX, "gare-01", "#"),
        (Role.FLEET, "main", "ville"),
    ],
)
def test_a_name_or_controller_that_cannot_be_is_refused(role, name, controller) -> None:
    with pytest.raises(HolderRejectedError):
        holder_of(role, name, controller)


def test_a_token_is_read_as_it_was_written_and_shows_itself_to_nobody() -> None:
    token = Token.make(bytes(range(32)))
    assert Token.read(f" {token.write()}\n") == token
    assert token.write() not in repr(token)
    assert token.write() not in repr(EnrolRequest(token.write(), ""))


@given(st.text(max_size=100))
def test_what_is_no_token_is_refused_without_being_repeated(text) -> None:
    with pytest.raises(EnrolmentRejectedError) as caught:
        Token.read(text)
    assert str(caught.value).startswith("this is no enrolment token")


def test_a_token_with_a_letter_that_is_no_ascii_is_refused() -> None:
    with pytest.raises(EnrolmentRejectedError):
        Token.read("é".join(Token.make(bytes(32)).write().split("a", 1)))


def test_a_token_with_one_letter_changed_in_its_tail_is_refused() -> None:
    text = Token.make(bytes(32)).write()
    with pytest.raises(EnrolmentRejectedError):
        Token.read(text[:-1] + "b")  # bits that no byte needs must be zero


def test_fingerprints_are_read_with_and_without_colons() -> None:
    data = bytes(range(32))
    assert read_fingerprint(write_fingerprint(data)) == data
    assert read_fingerprint("SHA256:" + ":".join(f"{one:02X}" for one in data)) == data
    for text in ("", "sha256:00", "sha256:" + "0g" * 32):
        with pytest.raises(EnrolmentRejectedError):
            read_fingerprint(text)
