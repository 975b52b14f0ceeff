"""Topics are built and read in one place, and a box cannot speak as another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_contracts.ids import ID_PATTERN, SHARDS, is_slug, shard_of
from veilleur_contracts.messages import MessageClass
from veilleur_contracts.topics import (
    Down,
    TopicRejectedError,
    Up,
    UpTopic,
    down_topic,
    out_technical_topic,
    out_topic,
    read_up_topic,
    up_filter,
    up_topic,
)


@given(st.from_regex(ID_PATTERN, fullmatch=True), st.sampled_from(list(Up)))
def test_reads_back_what_it_builds(box, channel) -> None:
    assert read_up_topic(up_topic("ville", box, channel)) == UpTopic("ville", box, channel)
    assert 0 <= shard_of(box) < SHARDS


@pytest.mark.parametrize(
    "topic",
    [
        pytest.param("", id="empty"),
        pytest.param("veilleur/v1/ville/3/gare-01/up", id="too-short"),
        pytest.param("veilleur/v2/ville/10/gare-01/up/ev", id="other-version"),
        pytest.param("veilleur/v1/ville/99/gare-01/up/ev", id="no-such-shard"),
        pytest.param("veilleur/v1/ville/x/gare-01/up/ev", id="shard-is-no-number"),
        pytest.param("veilleur/v1/ville/²/gare-01/up/ev", id="shard-is-a-superscript"),
        pytest.param(f"veilleur/v1/ville/{(shard_of('gare-01') + 1) % 16}/gare-01/up/ev", id="another-boxs-shard"),
        pytest.param(f"veilleur/v1/ville/{shard_of('gare-01')}/gare-01/dn/ack", id="downwards"),
        pytest.param(f"veilleur/v1/ville/{shard_of('gare-01')}/gare-01/up/rm", id="unknown-channel"),
        pytest.param("veilleur/v1/Ville/0/gare/up/ev", id="controller-is-no-id"),
        pytest.param("veilleur/v1/ville/0/" + "a" * 200 + "/up/ev", id="too-long"),
    ],
)
def test_refuses_a_topic_no_box_of_ours_would_use(topic) -> None:
    with pytest.raises(TopicRejectedError):
        read_up_topic(topic)


def test_topics_stand_as_documented() -> None:
    shard = shard_of("gare-01")
    assert down_topic("ville", "gare-01", Down.ACK) == f"veilleur/v1/ville/{shard}/gare-01/dn/ack"
    assert up_filter() == "veilleur/v1/+/+/+/up/#"
    assert up_filter(7) == "veilleur/v1/+/7/+/up/#"
    out = out_topic("ville", MessageClass.STATISTICS, "30189", "parvis", "crossings")
    assert out == "veilleur/v1/ville/out/S/30189/parvis/crossings"
    assert out_technical_topic("ville", "gare-01", "birth") == "veilleur/v1/ville/out/T/gare-01/birth"


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a_b", "a b", "é", "a" * 33, "a\n", "a/b", "+", "#"])
def test_ids_hold_nothing_that_needs_quoting(text) -> None:
    assert not is_slug(text)
