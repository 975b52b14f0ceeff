"""A site is read whole or refused with a sentence that names the place."""

import pytest

from site_builders import GOOD_SITE as GOOD
from veilleur_contracts.messages import Label
from veilleur_contracts.site import (
    Ground,
    Line,
    SiteRejectedError,
    Validated,
    check_ground,
    check_line,
    parse_site,
    read_site,
    site_hash_of,
)


def test_reads_a_whole_site() -> None:
    site = parse_site(GOOD.encode(), "site.toml")
    camera = site.camera[0]
    assert camera.line == (Line("kerb", (0.1, 0.6), (0.9, 0.6)),)
    assert camera.label_set() == (Label.PERSON, Label.CAR)
    assert camera.fps == 5.0


def test_the_hash_follows_the_meaning_and_not_the_spacing() -> None:
    spaced = GOOD.replace(" = ", "=").replace("\n\n", "\n\n\n")
    moved = GOOD.replace("[0.9, 0.6]", "[0.9, 0.61]")
    first = site_hash_of(parse_site(GOOD.encode(), "a"))
    assert first == site_hash_of(parse_site(spaced.encode(), "b"))
    assert first != site_hash_of(parse_site(moved.encode(), "c"))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param('box = "gare-01"', 'box = "Gare 01"', "box", id="box-is-no-id"),
        pytest.param('id = "parvis"', 'id = "parvis"\ncolour = 3', "colour", id="unknown-key"),
        pytest.param("[0.9, 0.6]", "[0.1, 0.6]", "line kerb has no length", id="line-without-length"),
        pytest.param("[0.9, 0.6]", "[1.2, 0.6]", "to", id="line-leaves-the-frame"),
        pytest.param("[0.9, 0.6]", "[nan, 0.6]", "", id="line-at-nan"),
        pytest.param("[0.9, 0.1], [0.9, 0.9]", "[0.5, 0.5], [0.9, 0.9]", "encloses nothing", id="flat-zone"),
        pytest.param('"car", "person"', '"cars"', "unknown label 'cars'", id="unknown-label"),
        pytest.param("rtsp://10.0.0.7", "rtsp://u:hunter2@10.0.0.7", "credentials", id="password-in-the-address"),
        pytest.param("rtsp://10.0.0.7:554/main", "ftp://10.0.0.7/x", "no kind of source", id="unknown-scheme"),
        pytest.param("rtsp://10.0.0.7:554/main", "rtsp://:99999/x", "not an address", id="no-host"),
        pytest.param('insee = "30189"', 'insee = "3018"', "insee", id="bad-commune"),
        pytest.param("[site]", "[site", "not TOML", id="not-toml"),
    ],
)
def test_refuses_what_cannot_be_counted(old, new, says) -> None:
    assert old in GOOD
    with pytest.raises(SiteRejectedError) as refusal:
        parse_site(GOOD.replace(old, new).encode(), "site.toml")
    assert says in str(refusal.value)
    assert "site.toml" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("part", ["[[camera.line]]\nid = 'kerb'\nfrom = [0.1, 0.2]\nto = [0.3, 0.4]\n"])
def test_refuses_two_lines_of_one_name(part) -> None:
    with pytest.raises(SiteRejectedError, match="kerb is there twice"):
        parse_site((GOOD + part).encode(), "site.toml")


def test_refuses_a_missing_site(tmp_path) -> None:
    with pytest.raises(SiteRejectedError, match="No such file"):
        read_site(tmp_path / "nowhere.toml")


def test_refuses_a_huge_site(tmp_path) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(b"#" * 300_000)
    with pytest.raises(SiteRejectedError, match="longer than"):
        read_site(path)


def test_refuses_bytes_that_are_no_text() -> None:
    with pytest.raises(SiteRejectedError, match="not TOML"):
        parse_site(b"\xff\xfe", "site.toml")


def test_check_line_refuses_ends_outside_the_frame() -> None:
    with pytest.raises(SiteRejectedError, match="leaves the frame"):
        check_line(Line("kerb", (0.1, 0.2), (0.1, 1.5)), "--line")


WATCHED = """
[camera.ground]
image = [[0.2, 0.95], [0.8, 0.95], [0.7, 0.6], [0.3, 0.6]]
metres = [[-2, 6], [2, 6], [3, 14], [-3, 14]]

[camera.validated.person]
recall = 0.97
precision = 0.99
n = 214

[[camera.zone]]
id = "bay"
polygon = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]
limit_s = 180
objects = true
road = true

[[camera.line]]
id = "slip-road"
from = [0.1, 0.2]
to = [0.3, 0.4]
one_way = "left_to_right"
"""


def test_reads_what_is_watched_besides_lines() -> None:
    camera = parse_site((GOOD + WATCHED).encode(), "site.toml").camera[0]
    assert (camera.zone[0].limit_s, camera.zone[0].objects, camera.zone[0].road) == (None, False, False)
    assert (camera.zone[1].limit_s, camera.zone[1].objects, camera.zone[1].road) == (180, True, True)
    assert (camera.line[0].one_way, camera.line[1].one_way) == (None, "left_to_right")
    assert camera.ground is not None
    assert camera.ground.metres[2] == (3.0, 14.0)
    assert camera.validated == {"person": Validated(recall=0.97, precision=0.99, n=214)}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param("limit_s = 180", "limit_s = 2", "limit_s", id="limit-below-any-red-light"),
        pytest.param("limit_s = 180", "limit_s = 180.5", "limit_s", id="limit-no-whole-number"),
        pytest.param("objects = true", 'objects = "yes"', "objects", id="flag-in-words"),
        pytest.param('"left_to_right"', '"up"', "one_way", id="way-nobody-knows"),
        pytest.param("recall = 0.97", "recall = 97", "recall", id="recall-in-percent"),
        pytest.param("n = 214", "n = 3", "at `$.camera[0].validated", id="measured-on-next-to-nothing"),
        pytest.param("validated.person", "validated.people", "validated", id="validated-label-nobody-knows"),
        pytest.param(", [-3, 14]]", "]", "metres", id="three-points"),
        pytest.param(", [-3, 14]]", ", [-3, 14], [0, 0]]", "4 points in the picture and 5", id="a-point-too-many"),
        pytest.param("[0.3, 0.6]]", "[0.3, inf]]", "image", id="point-at-infinity"),
        pytest.param("[-2, 6]", "[nan, 6]", "metres", id="point-at-nan"),
    ],
)
def test_refuses_what_cannot_be_watched(old, new, says) -> None:
    assert old in WATCHED
    with pytest.raises(SiteRejectedError) as refusal:
        parse_site((GOOD + WATCHED.replace(old, new)).encode(), "site.toml")
    assert says in str(refusal.value)


SQUARE = ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8))


@pytest.mark.parametrize(
    ("image", "says"),
    [
        pytest.param(((0.1, 0.1), (0.3, 0.3), (0.5, 0.5), (0.9, 0.9)), "picture", id="all-on-one-line"),
        pytest.param(((0.1, 0.1), (0.5, 0.5), (0.9, 0.9), (0.1, 0.9)), "picture", id="three-on-one-line"),
        pytest.param(((0.1, 0.1), (0.5, 0.503), (0.9, 0.9), (0.1, 0.9)), "picture", id="three-nearly-on-one-line"),
        pytest.param(((0.1, 0.1), (0.1, 0.1), (0.9, 0.9), (0.1, 0.9)), "picture", id="one-point-twice"),
        pytest.param(((0.5, 0.5),) * 4, "picture", id="one-point-four-times"),
    ],
)
def test_refuses_points_that_fix_no_plane(image, says) -> None:
    with pytest.raises(SiteRejectedError, match=f"no three lie on one line in the {says}"):
        check_ground(Ground(image, SQUARE), "camera parvis")
    with pytest.raises(SiteRejectedError, match="in the street"):
        check_ground(Ground(SQUARE, image), "camera parvis")


def test_points_on_one_line_do_no_harm_beside_four_good_ones() -> None:
    image = (*SQUARE, (0.5, 0.2), (0.8, 0.5))
    check_ground(Ground(image, image), "camera parvis")
