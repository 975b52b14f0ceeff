"""What a box may do, and where the bench profile ends."""

import pytest

from veilleur_contracts.messages import Label, MessageClass
from veilleur_contracts.policy import BENCH, BENCH_DIGESTS, STRICTEST, BenchRefusedError, check_bench_source, digest_of


def test_the_strictest_profile_lets_out_statistics_and_no_image() -> None:
    assert STRICTEST.classes == {MessageClass.TECHNICAL, MessageClass.STATISTICS}
    assert not STRICTEST.keep_images
    assert STRICTEST.person_cell_min == 5


@pytest.mark.parametrize(
    ("labels", "seconds"),
    [
        pytest.param([Label.CAR, Label.TRUCK], 900, id="vehicles"),
        pytest.param([Label.CAR, Label.PERSON], 1200, id="a-person-among-them"),
        pytest.param([Label.BICYCLE], 1200, id="a-cyclist-is-a-person"),
    ],
)
def test_the_shortest_window_depends_on_who_is_counted(labels, seconds) -> None:
    assert STRICTEST.window_s_for(labels) == seconds


def test_bench_windows_are_short() -> None:
    assert BENCH.window_s_for([Label.PERSON]) == 5
    assert BENCH.person_cell_min == 1


def test_what_was_counted_on_a_bench_is_known_for_it_whatever_the_bench_allows_later() -> None:
    assert digest_of(BENCH) in BENCH_DIGESTS, "add the new digest, and leave the old ones"
    assert "6391b4f0bad6a32b" in BENCH_DIGESTS
    assert digest_of(STRICTEST) not in BENCH_DIGESTS


@pytest.mark.parametrize(
    ("source", "is_file", "token"),
    [
        pytest.param("clip.mp4", True, None, id="a-file"),
        pytest.param("rtsp://127.0.0.1:8554/t0ken/street", False, "t0ken", id="the-simulator"),
        pytest.param("rtsp://[::1]:8554/t0ken/street", False, "t0ken", id="the-simulator-on-ipv6"),
    ],
)
def test_bench_accepts_what_is_ours(source, is_file, token) -> None:
    check_bench_source(source, is_regular_file=is_file, token=token)


@pytest.mark.parametrize(
    ("source", "token"),
    [
        pytest.param("rtsp://10.0.0.7/t0ken/main", "t0ken", id="another-host"),
        pytest.param("rtsp://localhost.example/t0ken/main", "t0ken", id="a-name"),
        pytest.param("rtsp://127.0.0.1/other/main", "t0ken", id="another-token"),
        pytest.param("rtsp://127.0.0.1//main", "", id="empty-token"),
        pytest.param("rtsp://127.0.0.1/None/main", None, id="no-token"),
        pytest.param("http://127.0.0.1/t0ken/main", "t0ken", id="another-scheme"),
        pytest.param("/dev/video0", None, id="a-device"),
        pytest.param("clip.mp4", None, id="a-file-that-is-not-there"),
    ],
)
def test_bench_refuses_what_may_be_a_street(source, token) -> None:
    with pytest.raises(BenchRefusedError):
        check_bench_source(source, is_regular_file=False, token=token)
