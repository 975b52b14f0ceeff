import sqlite3
from pathlib import Path

import msgspec
import pytest

from veilleur_simulator.balance import Tally, balance_of, read_tally, stored_in
from veilleur_simulator.errors import PartFailedError
from veilleur_simulator.ledger import Books

STREAM = 8001
SCHEMA = sorted(
    (Path(__file__).parents[2] / "fleet/veilleur_fleet/store/schema").glob("sqlite_v*.sql"), key=lambda path: path.name
)
TALLY = Tally(
    cameras={"place": {"kerb": {"person": {"left_to_right": 2, "right_to_left": 1}, "car": {"left_to_right": 0}}}},
    frames={"place": 90},
    fps={"place": 9.9},
    streams={str(STREAM): 3},
)


def store_with(folder: Path, seqs: range, persons: int) -> Path:
    """A store of the fleet's own schema, with rows written here."""
    database = folder / "fleet.db"
    store = sqlite3.connect(database)
    for version in SCHEMA:
        store.executescript(version.read_text(encoding="utf-8"))
    store.execute(
        "INSERT INTO boxes (box_no, box, controller, first_heard_ms, heard_ms) VALUES (1, 'box-1', 'ville', 0, 0)"
    )
    store.execute("INSERT INTO cameras (camera_no, controller, camera, box_no) VALUES (1, 'ville', 'place', 1)")
    store.execute("INSERT INTO lines (line_no, camera_no, line) VALUES (1, 1, 'kerb')")
    for seq in seqs:
        store.execute(
            "INSERT INTO records (position, box_no, stream, seq, tag, received_ms, raw)"
            " VALUES (?, 1, ?, ?, 2, 0, x'00')",
            (seq, STREAM, seq),
        )
    store.execute(
        "INSERT INTO crossing_windows (line_no, at_s, position, window_s, coverage, fps_x10, quality, counted,"
        " person_lr, person_rl) VALUES (1, 0, 1, 5, 100, 99, 0, 1, ?, 1)",
        (persons - 1,),
    )
    store.commit()
    store.close()
    return database


def books_of(seqs: list[int]) -> Books:
    return Books({("box-1", STREAM, seq): seqs.count(seq) for seq in seqs}, 0, 3, 1.0)


def test_even_books_are_even(tmp_path: Path) -> None:
    balance = balance_of({"box-1": TALLY}, store_with(tmp_path, range(1, 4), 3), books_of([1, 2, 3]))
    assert balance.is_even
    assert balance.crossings == 3
    assert balance.cameras() == {"place": {"kerb": {"person": {"agent": 3, "fleet": 3}}}}
    assert balance.fps == {"place": 9.9}


@pytest.mark.parametrize(
    ("stored", "persons", "seen", "expected"),
    [
        pytest.param(range(1, 3), 3, [1, 2], (1, 0), id="a-record-never-stored"),
        pytest.param(range(1, 4), 3, [1, 3], (1, 0), id="a-record-nobody-was-told"),
        pytest.param(range(1, 4), 3, [1, 2, 2, 3], (0, 1), id="a-record-told-twice"),
        pytest.param(range(1, 4), 4, [1, 2, 3], (0, 0), id="another-count"),
    ],
)
def test_uneven_books_are_not(
    tmp_path: Path, stored: range, persons: int, seen: list[int], expected: tuple[int, int]
) -> None:
    balance = balance_of({"box-1": TALLY}, store_with(tmp_path, stored, persons), books_of(seen))
    assert (balance.lost, balance.duplicated) == expected
    assert not balance.is_even


def test_a_tally_is_read_once_it_is_there(tmp_path: Path) -> None:
    assert read_tally(tmp_path) is None
    (tmp_path / "tally.json").write_bytes(msgspec.json.encode(TALLY))
    assert read_tally(tmp_path) == TALLY
    (tmp_path / "tally.json").write_bytes(b'{"cameras": 3}')
    with pytest.raises(PartFailedError, match=r"tally\.json cannot be read"):
        read_tally(tmp_path)


def test_a_store_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(PartFailedError, match="store cannot be read"):
        stored_in(tmp_path / "fleet.db")
    assert list(tmp_path.iterdir()) == []
