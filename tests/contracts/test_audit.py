"""The audit log: closed entries, honest trees, signatures others can read, and forgeries named by their index."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from audit_builders import (
    BOX_KEY,
    DPO_KEYS,
    LOG,
    ORIGIN,
    WITNESSES,
    chained,
    changed_entry,
    happenings,
    head_of,
    write_bundles,
    write_log,
    write_tiles,
)
from veilleur_contracts import notes
from veilleur_contracts.audit import (
    FIRST_PREV,
    AuditRejectedError,
    BoxStarted,
    ClipsExported,
    ClockJumped,
    Entry,
    LogPruned,
    decode_entry,
    encode_entry,
    origin_of,
)
from veilleur_contracts.audit_check import Fault, FaultKind, Findings, check_log
from veilleur_contracts.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    is_consistent,
    leaf_hash,
    node_hash,
    root_of,
    subtrees_of,
)
from veilleur_contracts.notes import (
    Checkpoint,
    NoteRejectedError,
    cosign,
    read_checkpoint,
    read_verifier,
    sign_checkpoint,
    verifier_of,
)
from veilleur_contracts.tiles import ENTRIES, LogUnreadableError, Tiles, split_bundle, tile_path

# RFC 6962's reference implementation: eight leaves and the roots of the trees of the first 0..8 of them.
REFERENCE_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
REFERENCE_ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
# A checkpoint as a public log signed it and a public witness cosigned it, with their keys.
PUBLIC_NOTE = """arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
""".encode()  # noqa: E501 - bytes as they were signed
PUBLIC_LOG = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
PUBLIC_WITNESS = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"


@contextmanager
def a_log(entries, signed_at=()) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        write_log(Path(folder), entries, signed_at)
        yield Path(folder)


def checked(folder: Path, **more) -> Findings:
    return check_log(Tiles(folder), LOG, WITNESSES, **more)


def hourly(size: int) -> list[int]:
    return sorted({*range(0, size, 90), size})


# ---- entries


def test_an_entry_has_one_encoding_and_can_be_read_by_a_person() -> None:
    entry = Entry(
        0,
        1_777_636_800_000,
        FIRST_PREV,
        ClipsExported("parvis", date(2026, 5, 1), "A. Roux", "dpo-ville", "réquisition 26/114"),
    )
    data = encode_entry(entry)
    assert decode_entry(data) == entry
    assert '"kind":"clips-exported"' in data.decode()
    assert '"who":"A. Roux"' in data.decode()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data.replace(b'"index":0', b'"index":0.0'), id="a-float"),
        pytest.param(lambda data: data.replace(b'"index":0', b'"index":-1'), id="negative"),
        pytest.param(lambda data: data.replace(b'"kind"', b'"kinds"'), id="unknown-field"),
        pytest.param(lambda data: data.replace(b"clock-jumped", b"clock-broken"), id="unknown-kind"),
        pytest.param(lambda data: data.replace(b":", b": ", 1), id="a-space"),
        pytest.param(lambda data: data + b" " * 2000, id="too-long"),
        pytest.param(lambda _: b"\xff\xfe", id="no-text"),
        pytest.param(lambda _: b"", id="empty"),
    ],
)
def test_what_is_no_entry_is_refused(damage) -> None:
    data = encode_entry(Entry(0, 1, FIRST_PREV, ClockJumped(5)))
    with pytest.raises(AuditRejectedError):
        decode_entry(damage(data))


def test_no_entry_can_carry_a_picture_a_count_or_a_position() -> None:
    """Every text is short and plain, and nothing holds bytes, lists of numbers or fractions."""
    schema = msgspec.json.schema(Entry)
    for struct in schema["$defs"].values():
        for field in struct.get("properties", {}).values():
            if field.get("type") == "string" and "format" not in field:
                assert field.get("maxLength", 0) <= 120
            assert field.get("type") != "number"
            assert "contentEncoding" not in field
    with pytest.raises(AuditRejectedError):
        encode_entry(Entry(0, 1, FIRST_PREV, ClipsExported("parvis", date(2026, 5, 1), "x" * 121, "dpo-ville", "y")))


# ---- trees


@pytest.mark.parametrize("size", REFERENCE_ROOTS)
def test_roots_are_those_of_the_reference(size) -> None:
    subtree = subtrees_of([leaf_hash(leaf) for leaf in REFERENCE_LEAVES])
    assert root_of(size, subtree).hex() == REFERENCE_ROOTS[size]


def plain_root(leaves) -> bytes:
    """The definition of RFC 6962 §2.1, word for word."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(plain_root(leaves[:split]), plain_root(leaves[split:]))


@given(st.integers(0, 300))
def test_roots_are_those_of_the_definition(size) -> None:
    leaves = [leaf_hash(bytes([one % 256])) for one in range(size)]
    assert root_of(size, subtrees_of(leaves)) == plain_root(leaves)


@given(st.integers(1, 200), st.integers(0, 200), st.data())
def test_a_consistency_proof_proves_growth_and_nothing_else(old, more, data) -> None:
    new = old + more
    leaves = [leaf_hash(bytes([one])) for one in range(200)] + [leaf_hash(b"xx")] * 200
    subtree = subtrees_of(leaves)
    roots = root_of(old, subtree), root_of(new, subtree)
    proof = consistency_proof(old, new, subtree)
    assert is_consistent(old, roots[0], new, roots[1], proof)
    bad = data.draw(st.binary(min_size=32, max_size=32).filter(lambda some: some not in roots))
    assert not is_consistent(old, bad, new, roots[1], proof)
    assert not is_consistent(old, roots[0], new, bad, proof)
    assert not is_consistent(old, roots[0], new, roots[1], (*proof, bad))
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        assert not is_consistent(old, roots[0], new, roots[1], (*proof[:at], bad, *proof[at + 1 :]))
        assert not is_consistent(old, roots[0], new, roots[1], proof[:-1])
        assert not is_consistent(new, roots[1], old, roots[0], proof)


def test_the_empty_tree_is_the_beginning_of_every_tree() -> None:
    assert is_consistent(0, EMPTY_ROOT, 5, b"r" * 32, ())
    assert not is_consistent(0, b"r" * 32, 5, b"r" * 32, ())


# ---- notes


def test_a_public_checkpoint_and_its_witness_are_read_as_their_owners_meant() -> None:
    signed = read_checkpoint(PUBLIC_NOTE, read_verifier(PUBLIC_LOG), [read_verifier(PUBLIC_WITNESS)])
    assert signed.checkpoint.size == 1_432_088_532
    assert signed.witnesses == {"remora.n621.de": 1_779_573_024}
    assert str(read_verifier(PUBLIC_WITNESS)) == PUBLIC_WITNESS


@pytest.mark.parametrize(("old", "new"), [(b"1432088532", b"1432088533"), (b"U7WM", b"V7WM")], ids=["size", "root"])
@pytest.mark.parametrize("by", [PUBLIC_LOG, PUBLIC_WITNESS], ids=["log", "witness"])
def test_a_public_checkpoint_that_was_changed_is_refused(old, new, by) -> None:
    text, lines = notes._split_note(PUBLIC_NOTE.replace(old, new))
    key = read_verifier(by)
    line = next(line for line in lines if notes._is_by(line, key))
    with pytest.raises(NoteRejectedError, match="does not fit"):
        notes._check_line(line, key, text)


def test_the_note_of_the_reference_implementation_is_read() -> None:
    key = read_verifier("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    line = (
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    assert notes._split_note(f"{text}\n{line}".encode()) == (text, [line])
    assert notes._is_by(line, key)
    assert notes._check_line(line, key, text) == 0


def test_both_witnesses_cosign_and_cosign_again() -> None:
    note = head_of(chained(happenings(7)), 7)
    for at_s in (1_777_636_800, 1_777_640_400):
        for name, key in DPO_KEYS.items():
            note = cosign(note, name, key, at_s)
    signed = read_checkpoint(note, LOG, WITNESSES)
    assert signed.witnesses == dict.fromkeys(DPO_KEYS, 1_777_640_400)
    assert note.count("\n— ".encode()) == 3
    assert read_checkpoint(note, LOG).witnesses == {}


def test_a_cosignature_moved_to_another_time_is_refused() -> None:
    note = cosign(head_of(chained(happenings(7)), 7), "dpo-ville", DPO_KEYS["dpo-ville"], 1_777_636_800)
    _, lines = notes._split_note(note)
    moved = bytearray(notes._decoded(lines[1].split(" ")[2].strip()))
    moved[11] ^= 1
    line = notes._signature_line(WITNESSES[0], bytes(moved[4:]))
    with pytest.raises(NoteRejectedError, match="dpo-ville"):
        read_checkpoint(note.replace(lines[1].encode(), line.encode()), LOG, WITNESSES)


NOTE = head_of(chained(happenings(3)), 3)


@pytest.mark.parametrize(
    "note",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\n\n", id="no-text"),
        pytest.param(NOTE.split(b"\n\n")[0], id="no-signatures"),
        pytest.param(NOTE.replace(b"\n3\n", b"\n03\n"), id="leading-zero"),
        pytest.param(NOTE.replace(b"\n3\n", b"\n3\nextension\n"), id="extension"),
        pytest.param(NOTE.replace(b"\n3\n", b"\n9999999999999999\n"), id="too-large"),
        pytest.param(NOTE.replace("— ".encode(), b"- "), id="no-dash"),
        pytest.param(NOTE.replace(b"=\n\n", b"\n\n"), id="root-too-short"),
        pytest.param(NOTE + ("— x AAAA\n" * 20).encode(), id="too-many-signatures"),
        pytest.param(NOTE + b"x" * 70_000, id="too-long"),
        pytest.param(NOTE.replace(b"gare-01", b"gare-02"), id="another-log"),
        pytest.param(head_of(chained(happenings(3)), 3, DPO_KEYS["dpo-ville"]), id="another-key"),
    ],
)
def test_what_is_no_checkpoint_of_the_log_is_refused(note) -> None:
    with pytest.raises(NoteRejectedError):
        read_checkpoint(note, LOG, WITNESSES)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("a+b", id="two-parts"),
        pytest.param(str(LOG).replace("+", "+0", 1), id="another-id"),
        pytest.param(str(LOG)[:-4], id="cut"),
        pytest.param("a+00000000+AgAA", id="another-kind"),
        pytest.param(str(LOG).replace("veilleur", "veil leur", 1), id="a-space"),
    ],
)
def test_what_is_no_key_is_refused(text) -> None:
    with pytest.raises(NoteRejectedError):
        read_verifier(text)


@given(st.binary(max_size=300))
def test_random_bytes_are_no_checkpoint(data) -> None:
    with pytest.raises(NoteRejectedError):
        read_checkpoint(data, LOG, WITNESSES)


def test_names_follow_the_controller_and_the_box() -> None:
    assert origin_of("ville", "gare-01") == ORIGIN
    with pytest.raises(NoteRejectedError):
        verifier_of("a b", BOX_KEY, notes.BY_LOG)


# ---- files


@pytest.mark.parametrize(
    ("index", "path"),
    [
        (0, "tile/entries/000"),
        (999, "tile/entries/999"),
        (1000, "tile/entries/x001/000"),
        (1_234_067, "tile/entries/x001/x234/067"),
    ],
)
def test_tiles_stand_where_the_specification_puts_them(index, path) -> None:
    assert tile_path(Path(), ENTRIES, index) == Path(path)


@given(st.binary(max_size=2000))
def test_any_bytes_split_into_entries_and_a_rest(data) -> None:
    entries, rest = split_bundle(data)
    assert sum(2 + len(one) for one in entries) + rest == len(data)


def test_strange_files_are_named(tmp_path) -> None:
    write_log(tmp_path, chained(happenings(3)))
    (tmp_path / "tile" / "entries" / "notes.txt").write_text("x", encoding="ascii")
    with pytest.raises(LogUnreadableError, match=r"notes\.txt"):
        checked(tmp_path)
    (tmp_path / "tile" / "entries" / "notes.txt").unlink()
    (tmp_path / "tile" / "entries" / "000").write_bytes(b"\x00" * 300_000)
    with pytest.raises(LogUnreadableError, match="longer"):
        checked(tmp_path)


# ---- whole logs, and forgeries

sizes = st.integers(2, 40) | st.integers(250, 560)
few = settings(max_examples=20, deadline=None)


@few
@given(sizes)
def test_a_whole_log_is_whole(size) -> None:
    entries = chained(happenings(size))
    with a_log(entries, hourly(size)) as folder:
        found = checked(folder)
        assert found.is_whole
        assert (found.size, found.signed_size, found.starts, found.kept_from) == (size, size, 1, 0)


@pytest.mark.parametrize("repairs_hashes", [False, True], ids=["naive", "repairs-hashes"])
@few
@given(sizes, st.data())
def test_an_edited_entry_is_named(repairs_hashes, size, data) -> None:
    entries = chained(happenings(size))
    at = data.draw(st.integers(0, size - (2 if repairs_hashes else 1)))  # no chain holds the last entry
    forged = list(entries)
    change = data.draw(st.sampled_from([{"at_ms": 1}, {"what": ClockJumped(-7)}, {"prev": "f" * 64}]))
    forged[at] = changed_entry(entries[at], **change)
    with a_log(entries, hourly(size)) as folder:
        write_bundles(folder, forged)
        if repairs_hashes:
            write_tiles(folder, forged)
        fault = checked(folder).faults[0]
    if repairs_hashes and at == size - 2:
        assert fault.first <= at <= fault.last <= fault.first + 1
    else:
        assert (fault.first, fault.last, fault.kind) == (at, at, FaultKind.EDITED)


@few
@given(sizes, st.data())
def test_a_flipped_byte_is_named(size, data) -> None:
    entries = chained(happenings(size))
    at = data.draw(st.integers(0, size - 1))
    place = data.draw(st.integers(0, len(entries[at]) - 1))
    forged = list(entries)
    forged[at] = entries[at][:place] + bytes([entries[at][place] ^ 1]) + entries[at][place + 1 :]
    with a_log(entries, hourly(size)) as folder:
        write_bundles(folder, forged)
        fault = checked(folder).faults[0]
    assert (fault.first, fault.last) == (at, at)


@pytest.mark.parametrize("repairs_hashes", [False, True], ids=["naive", "repairs-hashes"])
@few
@given(sizes, st.data())
def test_a_dropped_entry_is_named(repairs_hashes, size, data) -> None:
    entries = chained(happenings(size))
    at = data.draw(st.integers(0, size - 2))
    forged = entries[:at] + entries[at + 1 :]
    with a_log(entries, hourly(size)) as folder:
        write_bundles(folder, forged)
        if repairs_hashes:
            write_tiles(folder, forged)
        fault = checked(folder).faults[0]
    assert (fault.first, fault.last) == (at, at)
    assert fault.kind is FaultKind.DROPPED or repairs_hashes


@pytest.mark.parametrize("repairs_hashes", [False, True], ids=["naive", "repairs-hashes"])
@few
@given(sizes, st.data())
def test_reordered_entries_are_named(repairs_hashes, size, data) -> None:
    entries = chained(happenings(size))
    first = data.draw(st.integers(0, size - 2))
    second = data.draw(st.integers(first + 1, size - 1))
    forged = list(entries)
    forged[first], forged[second] = entries[second], entries[first]
    with a_log(entries, hourly(size)) as folder:
        write_bundles(folder, forged)
        if repairs_hashes:
            write_tiles(folder, forged)
        fault = checked(folder).faults[0]
    assert (fault.first, fault.last) == (first, first)
    assert fault.kind is FaultKind.REORDERED or repairs_hashes or second // 256 > first // 256


@pytest.mark.parametrize("repairs_hashes", [False, True], ids=["naive", "repairs-hashes"])
@few
@given(sizes, st.data())
def test_a_truncated_log_is_named_where_it_ends(repairs_hashes, size, data) -> None:
    entries = chained(happenings(size))
    kept = data.draw(st.integers(0, size - 1))
    with a_log(entries, hourly(size)) as folder:
        write_bundles(folder, entries[:kept])
        if repairs_hashes:
            write_tiles(folder, entries[:kept])
        fault = checked(folder).faults[0]
    assert (fault.first, fault.last, fault.kind) == (kept, kept, FaultKind.TRUNCATED)


@pytest.mark.parametrize("how", ["edit", "drop", "fork"])
@few
@given(sizes, st.data())
def test_a_history_written_anew_is_contradicted_by_the_checkpoints_and_placed_by_a_copy(how, size, data) -> None:
    """The forger chains, hashes and signs everything again, as who holds the box's key can."""
    entries = chained(happenings(size))
    at = data.draw(st.integers(0, size - 1))
    rest = happenings(size)[at + 1 :] if how == "drop" else [ClockJumped(-9), *happenings(size)[at + 1 :]]
    rest = happenings(size - at + 1, mark=3)[1:] if how == "fork" else rest
    forged = chained(rest, after=entries[:at])
    witnessed = [head_of(entries, one) for one in hourly(size)]
    with a_log(forged, hourly(len(forged))) as folder, a_log(entries) as copy:
        assert checked(folder).is_whole
        fault = checked(folder, notes=witnessed).faults[0]
        last_good = max(one for one in hourly(size) if one <= at)
        if fault.kind is FaultKind.TRUNCATED:  # shorter than the only checkpoint that could say more
            assert fault.first == len(forged)
        else:
            assert (fault.kind, fault.first) == (FaultKind.FORKED, last_good)
            assert at <= fault.last
        if at < len(forged):
            exact = checked(folder, notes=witnessed, copies=[Tiles(copy)]).faults[0]
            assert (exact.first, exact.last, exact.kind) == (at, at, FaultKind.FORKED)


def test_a_checkpoint_signed_by_another_key_is_a_fault_of_its_own(tmp_path) -> None:
    entries = chained(happenings(5))
    write_log(tmp_path, entries, [5])
    stranger = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
    found = checked(tmp_path, notes=[head_of(entries, 5, stranger)])
    assert [fault.kind for fault in found.faults] == [FaultKind.UNSIGNED]


def test_entries_after_the_newest_checkpoint_are_said_to_be_unsigned(tmp_path) -> None:
    write_log(tmp_path, chained(happenings(9)), [4])
    assert (checked(tmp_path).size, checked(tmp_path).signed_size) == (9, 4)


def test_witnesses_are_told_with_the_size_they_saw(tmp_path) -> None:
    entries = chained(happenings(9))
    write_log(tmp_path, entries, [9])
    seen = [
        cosign(head_of(entries, size), name, DPO_KEYS[name], 1_777_636_800)
        for size, name in ((4, "dpo-ville"), (7, "dpo-ville"), (4, "dpo-agglo"))
    ]
    assert checked(tmp_path, notes=seen).witnessed == {"dpo-ville": 7, "dpo-agglo": 4}


def test_half_an_entry_at_the_end_is_told_and_is_no_fault(tmp_path) -> None:
    entries = chained(happenings(5))
    write_log(tmp_path, entries, [5])
    bundle = tile_path(tmp_path, ENTRIES, 0)
    bundle.write_bytes(bundle.read_bytes() + b"\x00\x90half an entry")
    found = checked(tmp_path)
    assert found.is_whole
    assert found.torn_bytes == 15


@pytest.mark.parametrize("lost", [0, 1])
def test_a_bundle_that_is_gone_is_named(tmp_path, lost) -> None:
    entries = chained(happenings(600))
    write_log(tmp_path, entries, hourly(600))
    tile_path(tmp_path, ENTRIES, lost).unlink()
    fault = checked(tmp_path).faults[0]
    assert (fault.first, fault.last, fault.kind) == (256 * lost, 256 * lost, FaultKind.DROPPED)


def test_a_bundle_with_junk_in_the_middle_is_named(tmp_path) -> None:
    entries = chained(happenings(600))
    write_log(tmp_path, entries, hourly(600))
    bundle = tile_path(tmp_path, ENTRIES, 0)
    bundle.write_bytes(bundle.read_bytes() + b"\x00")
    assert checked(tmp_path).faults[0].first == 256


def test_pruning_that_the_log_tells_of_is_no_fault_and_changes_no_root(tmp_path) -> None:
    whats = [*happenings(900), LogPruned(512)]
    entries = chained(whats)
    write_log(tmp_path, entries, [256, 300, 512, 700, 901])
    for number in (0, 1):
        tile_path(tmp_path, ENTRIES, number).unlink()
        tile_path(tmp_path, 0, number).unlink()
    found = checked(tmp_path)
    assert found.faults == ()
    assert (found.kept_from, found.size, found.signed_size) == (512, 901, 901)
    assert found.checkpoints == 4  # 256, 512, 700, 901: the root at 300 went with its leaves


def test_hashes_kept_of_what_was_pruned_cannot_be_changed(tmp_path) -> None:
    entries = chained([*happenings(900), LogPruned(512)])
    write_log(tmp_path, entries, [512, 901])
    for number in (0, 1):
        tile_path(tmp_path, ENTRIES, number).unlink()
        tile_path(tmp_path, 0, number).unlink()
    tile = tile_path(tmp_path, 1, 0)
    tile.write_bytes(b"\x01" + tile.read_bytes()[1:])
    fault = checked(tmp_path).faults[0]
    assert fault.kind is FaultKind.FORKED
    assert fault.first == 0


def test_a_large_pruned_log_needs_the_third_level(tmp_path) -> None:
    """The right half of a subtree above the tiles may be kept while its left half was pruned."""
    entries = chained([*happenings(1100), LogPruned(768)])
    write_log(tmp_path, entries, [1101])
    for number in (0, 1, 2):
        tile_path(tmp_path, ENTRIES, number).unlink()
        tile_path(tmp_path, 0, number).unlink()
    assert checked(tmp_path).faults == ()


def test_an_empty_folder_is_an_empty_log(tmp_path) -> None:
    found = checked(tmp_path)
    assert (found.size, found.is_whole) == (0, True)
    entries = chained(happenings(3))
    assert checked(tmp_path, notes=[head_of(entries, 3)]).faults[0].kind is FaultKind.TRUNCATED


def test_faults_are_ordered_by_the_first_bad_entry() -> None:
    faults = [Fault(at, at, FaultKind.EDITED, "") for at in (5, 2, 9)]
    assert all(one.first < two.first for one, two in pairwise(sorted(faults)))
    assert not Fault(1, 3, FaultKind.FORKED, "").is_exact


def test_a_checkpoint_can_be_signed_of_nothing() -> None:
    note = sign_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT), BOX_KEY)
    assert read_checkpoint(note, LOG).checkpoint.size == 0
    assert isinstance(happenings(1)[0], BoxStarted)
