"""The fleet's copy of an audit: what is told to it in parts, and everything a box could do to take something back."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_builders import chained, changed_entry, happenings
from report_builders import OTHER_KEY, Reporting
from veilleur_contracts.audit_check import FaultKind
from veilleur_contracts.audit_copy import (
    PART_BYTES_MAX,
    AuditPart,
    Copied,
    PartRejectedError,
    decode_copied,
    decode_part,
    encode_copied,
    encode_part,
    log_id_of,
)
from veilleur_contracts.audit_follow import CopyFaultError, Head, follow
from veilleur_contracts.merkle import Frontier, frontier_of, leaf_hash, root_of, subtrees_of


class Copy:
    """A copy in memory, as the fleet keeps it in its database."""

    def __init__(self) -> None:
        self.head, self.entries, self.roots = Head(), dict[int, bytes](), dict[int, bytes]()

    def take(self, part: AuditPart) -> bool:
        followed = follow(
            self.head,
            part,
            held=lambda first, upto: [self.entries[at] for at in range(first, upto)],
            known=self.roots.get,
        )
        if followed is None:
            return False
        self.entries |= dict(enumerate(followed.fresh, followed.head.size - len(followed.fresh)))
        self.roots.setdefault(followed.signed.size, followed.signed.root)
        self.head = followed.head
        return True


@pytest.fixture
def box() -> Reporting:
    one = Reporting()
    one.note(*happenings(20)[1:])
    return one


@pytest.fixture
def copy(box) -> Copy:
    one = Copy()
    assert one.take(box.audit_part(0, 12))
    return one


@given(st.integers(0, 70), st.integers(0, 70))
def test_the_right_edge_of_a_tree_gives_the_root_of_every_size(size, more) -> None:
    leaves = [leaf_hash(bytes([one])) for one in range(size + more)]
    tree = Frontier(size, frontier_of(size, subtrees_of(leaves[:size])))
    for leaf in leaves[size:]:
        tree.append(leaf)
    assert tree.size == size + more
    assert tree.root() == root_of(size + more, subtrees_of(leaves))


def test_a_log_is_followed_part_by_part_and_again_and_again(box, copy) -> None:
    assert copy.head.size == 12
    assert copy.take(box.audit_part(12, 15))
    assert copy.take(box.audit_part(10, 20)), "a part may begin before the copy ends"
    assert copy.take(box.audit_part(0, 12)), "an old part comes again"
    assert [copy.entries[at] for at in range(20)] == box.entries[:20] == box.entries[: copy.head.size]


def test_behind_a_hole_nothing_is_taken(box, copy) -> None:
    assert not copy.take(box.audit_part(15, 18))
    assert copy.head.size == 12


def test_a_copy_may_begin_where_the_box_has_pruned_and_then_knows_no_entry_before() -> None:
    box = Reporting()
    box.note(*happenings(300)[1:])
    before = frontier_of(256, subtrees_of([leaf_hash(raw) for raw in box.entries[:256]]))
    copy = Copy()
    assert copy.take(box.audit_part(256, 300, before=before))
    assert (copy.head.kept_from, copy.head.size) == (256, 300)
    assert not copy.take(box.audit_part(0, 10)), "what was pruned is not asked for"
    late = Copy()
    assert late.take(box.audit_part(0, 20))
    assert late.take(box.audit_part(256, 299, before=before)), "a hole that is pruned for ever is passed over"
    assert late.head.kept_from == 256


def edited(entries, at=5):
    return [*entries[:at], changed_entry(entries[at], at_ms=1), *entries[at + 1 :]]


def forked(entries, at=14):
    return chained(happenings(9, mark=7)[1:], entries[:at])


def test_an_entry_edited_after_it_was_copied_is_named(box, copy) -> None:
    with pytest.raises(CopyFaultError) as found:
        copy.take(box.audit_part(0, 20, edited(box.entries)))
    assert (found.value.fault.first, found.value.fault.last, found.value.fault.kind) == (5, 5, FaultKind.FORKED)


@pytest.mark.parametrize(
    ("tampered", "kind", "first"),
    [
        pytest.param(lambda entries: edited(entries, 14), FaultKind.FORKED, 15, id="edited"),
        pytest.param(lambda entries: [*entries[:14], *entries[15:]], FaultKind.DROPPED, 14, id="dropped"),
        pytest.param(
            lambda entries: [*entries[:14], entries[15], entries[14], *entries[16:]],
            FaultKind.DROPPED,
            14,
            id="reordered",
        ),
        pytest.param(lambda entries: forked(entries, 9), FaultKind.FORKED, 12, id="forked-before-the-end-of-the-copy"),
    ],
)
def test_what_is_changed_behind_the_copy_is_named_by_its_index(box, copy, tampered, kind, first) -> None:
    entries = tampered(box.entries)
    with pytest.raises(CopyFaultError) as found:
        copy.take(box.audit_part(12, len(entries), entries))
    assert (found.value.fault.first, found.value.fault.kind) == (first, kind)
    assert copy.head.size == 12, "what was held stays"


def test_a_box_put_back_to_an_earlier_day_is_found_when_it_signs_a_shorter_log(box, copy) -> None:
    with pytest.raises(CopyFaultError) as found:
        copy.take(box.audit_part(0, 8))
    assert (found.value.fault.first, found.value.fault.last, found.value.fault.kind) == (8, 11, FaultKind.TRUNCATED)


def test_a_box_put_back_that_goes_on_otherwise_is_found_at_the_first_other_entry(box, copy) -> None:
    with pytest.raises(CopyFaultError) as found:
        copy.take(box.audit_part(0, None, forked(box.entries, 8)))
    assert (found.value.fault.first, found.value.fault.kind) == (8, FaultKind.FORKED)


def test_a_head_of_other_entries_than_those_told_is_found(box, copy) -> None:
    lying = msgspec.structs.replace(box.audit_part(12, 15), note=box.audit_part(0, 15, edited(box.entries)).note)
    with pytest.raises(CopyFaultError, match="other entries") as found:
        copy.take(lying)
    assert found.value.fault.kind is FaultKind.FORKED


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"note": b"rubbish"}, id="no-note"),
        pytest.param({"key": "rubbish"}, id="no-key"),
        pytest.param({"first": 3}, id="not-signed-where-it-ends"),
        pytest.param({"entries": (b"{}",) * 3}, id="no-entries"),
        pytest.param({"key": str(Reporting(key=OTHER_KEY).verifier)}, id="another-key"),
    ],
)
def test_what_is_no_part_is_refused(box, copy, changes) -> None:
    with pytest.raises(PartRejectedError):
        copy.take(msgspec.structs.replace(box.audit_part(12, 15), **changes))


def test_parts_and_answers_have_one_encoding(box) -> None:
    part, copied = box.audit_part(0, 9), Copied(log_id_of(str(box.verifier)), 9)
    assert decode_part(encode_part(part)) == part
    assert decode_copied(encode_copied(copied)) == copied
    assert len(encode_part(part)) < PART_BYTES_MAX


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x93\x02\xa1x\x01",
        encode_copied(Copied("a" * 16, 5)) + b"\x00",
        b"\x93\x02\xb0" + b"a" * 16 + b"\xcd\x00\x05",
        b" " * 70_000,
    ],
    ids=["empty", "never-used-byte", "short-name", "more-behind", "not-canonical", "too-long"],
)
def test_rubbish_is_neither_part_nor_answer(data) -> None:
    with pytest.raises(PartRejectedError):
        decode_copied(data)
    with pytest.raises(PartRejectedError):
        decode_part(data)
