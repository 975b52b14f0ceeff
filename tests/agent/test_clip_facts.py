"""What a report may say of kept pictures is measured on the disk, not declared."""

from datetime import timedelta

import pytest

from clip_builders import FIRST_MAY, FIRST_MAY_MS, a_reckoning, a_store
from veilleur_agent.clip_facts import facts_of, held_of, measure
from veilleur_agent.eye.retention import DAY_MS
from veilleur_agent.freezes import Freeze, put_freeze
from veilleur_contracts.codec import encode_record
from veilleur_contracts.messages import ClipFault, ClipsHeld


@pytest.mark.parametrize("has_folders", [False, True])
def test_where_nothing_is_kept_there_is_no_oldest(tmp_path, has_folders) -> None:
    if has_folders:
        a_store(tmp_path / "clips")
    facts = measure(tmp_path / "clips", tmp_path / "freezes", FIRST_MAY_MS)
    assert (facts.oldest_s, facts.oldest_frozen_s, facts.size_bytes, facts.days, facts.without_key) == (
        None,
        None,
        0,
        {},
        0,
    )


def test_ages_bytes_days_and_freezes_are_those_of_the_disk(tmp_path) -> None:
    store = a_store(tmp_path / "clips", 3)
    a_store(tmp_path / "clips", 1, camera="quai")
    store.destroy_key("quai", FIRST_MAY)
    store.keep_reckoning(a_reckoning(FIRST_MAY_MS + 2 * DAY_MS))
    freeze = Freeze("avenue", FIRST_MAY, FIRST_MAY + timedelta(60), "PR 26/1", ("A. Un", "B. Deux"))
    put_freeze(tmp_path / "freezes", freeze)
    facts = measure(tmp_path / "clips", tmp_path / "freezes", FIRST_MAY_MS + 4 * DAY_MS)
    assert facts.oldest_s == 3 * 86_400
    assert facts.oldest_frozen_s == 4 * 86_400
    assert facts.days["avenue"] == tuple(FIRST_MAY + timedelta(day) for day in range(3))
    assert facts.frozen == {("avenue", FIRST_MAY): FIRST_MAY + timedelta(60)}
    assert facts.size_bytes == store.size_bytes()
    assert facts.without_key == 1


def test_what_is_said_on_the_wire_is_what_was_measured(tmp_path) -> None:
    store = a_store(tmp_path / "clips", 2)
    facts = facts_of(store, tmp_path / "freezes", a_reckoning(FIRST_MAY_MS + 3 * DAY_MS))
    assert held_of(facts, 1_790_000_100, 0) == ClipsHeld(1_790_000_100, 2, 0, 3 * 86_400, 1, 0)
    far = facts_of(store, tmp_path / "freezes", a_reckoning(1 << 52))
    for at_s in (-1, 1 << 40):
        encode_record(held_of(far, at_s, sum(ClipFault)))


def test_a_clock_set_back_makes_nothing_younger_in_a_report(tmp_path) -> None:
    store = a_store(tmp_path / "clips", 1)
    store.keep_reckoning(a_reckoning(FIRST_MAY_MS + 5 * DAY_MS))
    assert measure(tmp_path / "clips", tmp_path / "freezes", 0).oldest_s == 5 * 86_400
