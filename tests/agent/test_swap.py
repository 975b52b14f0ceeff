"""What the machine may write its memory to is looked at: encrypted, in memory, or in the clear."""

import pytest

from veilleur_agent import swap
from veilleur_agent.swap import swaps_here, swaps_in_clear

HEAD = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
UUIDS = {"dm-0": "CRYPT-PLAIN-swap", "dm-1": "LVM-abcdef", "swap": "CRYPT-LUKS2-0123"}


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        pytest.param("", (), id="none"),
        pytest.param("/dev/zram0 partition 4194300 0 100\n", (), id="compressed-memory"),
        pytest.param("/dev/dm-0 partition 4194300 0 -2\n/dev/mapper/swap partition 1 0 -3\n", (), id="encrypted"),
        pytest.param("/dev/dm-1 partition 4194300 0 -2\n", ("/dev/dm-1",), id="logical-volume-in-the-clear"),
        pytest.param("/dev/sda2 partition 1 0 -2\n/swapfile file 1 0 -3\n", ("/dev/sda2", "/swapfile"), id="in-clear"),
    ],
)
def test_swaps_in_the_clear_are_named(rows, found) -> None:
    assert swaps_in_clear(HEAD + rows, lambda name: UUIDS.get(name, "")) == found


def test_this_machine_is_asked_and_a_table_that_is_not_there_is_no_swap(tmp_path, monkeypatch) -> None:
    assert isinstance(swaps_here(), tuple)
    table = tmp_path / "swaps"
    monkeypatch.setattr(swap, "SWAPS", table)
    assert swaps_here() == ()
    table.write_text(HEAD + "/swapfile file 1 0 -2\n", encoding="ascii")
    assert swaps_here() == ("/swapfile",)
