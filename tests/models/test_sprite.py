"""The sprite detector on pictures drawn here, through the compression a camera's picture goes through."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from model_builders import card_of_model
from veilleur_contracts.messages import Label
from veilleur_models.decode import DecodedBoxes, decoder_of
from veilleur_models.infer import Network, blob_of
from veilleur_models.nms import overlaps_of
from veilleur_models.sprite import PALETTE, SMALLEST_GAP_PX, SMALLEST_OUTLINE_PX, build_graph

CARD = card_of_model("sprite")
Picture = npt.NDArray[np.uint8]
Sprite = tuple[int, int, int, int, Label]


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(build_graph(CARD.input.width, CARD.input.height), CARD, threads=1)


def street() -> Picture:
    """Grey patches of 16 pixels, as asphalt, walls and pavement are."""
    greys = np.random.default_rng(5).integers(60, 150, (24, 40), dtype=np.uint8)
    return np.repeat(greys.repeat(16, 0).repeat(16, 1)[:, :, None], 3, axis=2)


def paint(picture: Picture, *sprites: Sprite) -> Picture:
    for x1, y1, x2, y2, label in sprites:
        picture[y1:y2, x1:x2] = PALETTE[label]
    return picture


def weathered(picture: Picture, *, light: float = 1.0, noise: float = 0.0, quality: int = 60) -> Picture:
    """Darken, add rain's noise, and smear colour over 2×2 pixels twice, as JPEG and I420 do."""
    values = picture * light + np.random.default_rng(11).normal(0.0, max(noise, 1e-9), picture.shape)
    seen = np.clip(values, 0, 255).astype(np.uint8)
    planes = cv2.cvtColor(seen, cv2.COLOR_BGR2YCrCb)
    small = cv2.resize(planes[:, :, 1:], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    step = max(1, (100 - quality) // 5)
    coarse = ((small // step) * step + step // 2).astype(np.uint8)
    planes[:, :, 1:] = cv2.resize(coarse, (planes.shape[1], planes.shape[0]), interpolation=cv2.INTER_LINEAR)
    back = cv2.cvtColor(planes, cv2.COLOR_YCrCb2BGR)
    i420 = cv2.cvtColor(back, cv2.COLOR_BGR2YUV_I420)
    return np.asarray(cv2.cvtColor(i420, cv2.COLOR_YUV2BGR_I420), dtype=np.uint8)


def seen_in(network: Network, picture: Picture) -> DecodedBoxes:
    return decoder_of(CARD).decode(network.infer(blob_of(picture, CARD)[0]), CARD.thresholds.count)


def check_found(decoded: DecodedBoxes, sprites: list[Sprite], within_px: float) -> None:
    """Every sprite is one box of its label, and there is no other box."""
    assert sorted(decoded.labels.tolist()) == sorted(int(sprite[4]) for sprite in sprites)
    truth = np.array([sprite[:4] for sprite in sprites], dtype=np.float32)
    labels = np.array([sprite[4] for sprite in sprites], dtype=np.int8)
    overlaps = overlaps_of(truth, decoded.boxes) * (labels[:, None] == decoded.labels[None, :])
    nearest = overlaps.argmax(axis=1)
    assert len(set(nearest.tolist())) == len(sprites)
    assert np.abs(decoded.boxes[nearest] - truth).max() <= within_px


ALL_LABELS: list[Sprite] = [
    (20, 30, 32, 62, Label.PERSON),
    (101, 41, 161, 81, Label.BICYCLE),
    (200, 33, 450, 183, Label.CAR),
    (500, 201, 533, 240, Label.MOTORCYCLE),
    (37, 205, 187, 375, Label.BUS),
    (299, 260, 419, 340, Label.TRUCK),
]


@pytest.mark.parametrize(
    ("light", "noise", "quality", "within_px"),
    [
        pytest.param(1.0, 0.0, 90, 2.0, id="by day"),
        pytest.param(1.0, 0.0, 40, 3.0, id="badly compressed"),
        pytest.param(0.4, 0.0, 60, 4.0, id="by night"),
        pytest.param(1.0, 25.0, 60, 4.0, id="in the rain"),
        pytest.param(0.4, 25.0, 60, 4.0, id="in the rain by night"),
    ],
)
def test_finds_every_label_and_nothing_else(
    network: Network, light: float, noise: float, quality: int, within_px: float
) -> None:
    picture = weathered(paint(street(), *ALL_LABELS), light=light, noise=noise, quality=quality)
    check_found(seen_in(network, picture), ALL_LABELS, within_px)


@pytest.mark.parametrize("light", [1.0, 0.4])
@pytest.mark.parametrize("noise", [0.0, 30.0])
def test_an_empty_street_shows_no_sprite(network: Network, light: float, noise: float) -> None:
    assert seen_in(network, weathered(street(), light=light, noise=noise)).scores.size == 0


@pytest.mark.parametrize("label", list(Label))
@pytest.mark.parametrize("offset", range(4))
@pytest.mark.parametrize("light", [1.0, 0.4])
def test_an_outline_parts_two_sprites_side_by_side(network: Network, label: Label, offset: int, light: float) -> None:
    left = (100 + offset, 100 + offset, 140 + offset, 180, label)
    right = (left[2] + SMALLEST_OUTLINE_PX, left[1], left[2] + SMALLEST_OUTLINE_PX + 40, 180, label)
    picture = street()
    picture[left[1] - 3 : left[3] + 3, left[0] - 3 : right[2] + 3] = 8
    check_found(seen_in(network, weathered(paint(picture, left, right), light=light)), [left, right], 4.0)


@pytest.mark.parametrize("label", list(Label))
@pytest.mark.parametrize("offset", range(4))
def test_a_gap_parts_two_sprites_side_by_side(network: Network, label: Label, offset: int) -> None:
    left = (100 + offset, 100, 140 + offset, 180, label)
    right = (left[2] + SMALLEST_GAP_PX, 100, left[2] + SMALLEST_GAP_PX + 40, 180, label)
    check_found(seen_in(network, weathered(paint(street(), left, right))), [left, right], 4.0)


def test_touching_sprites_of_two_labels_are_two(network: Network) -> None:
    sprites: list[Sprite] = [(100, 100, 140, 180, Label.PERSON), (140, 100, 240, 180, Label.CAR)]
    check_found(seen_in(network, weathered(paint(street(), *sprites))), sprites, 4.0)


def test_a_covered_sprite_is_its_visible_part(network: Network) -> None:
    picture = weathered(paint(street(), (100, 100, 160, 220, Label.PERSON), (130, 160, 330, 260, Label.CAR)))
    decoded = seen_in(network, picture)
    assert sorted(decoded.labels.tolist()) == [Label.PERSON, Label.CAR]
    person = decoded.boxes[decoded.labels == Label.PERSON][0]
    np.testing.assert_allclose(person, [100, 100, 160, 220], atol=4.0)
    score = decoded.scores[decoded.labels == Label.PERSON][0]
    assert CARD.thresholds.count < score < decoded.scores[decoded.labels == Label.CAR][0]


def test_a_wall_before_a_sprite_leaves_what_shows(network: Network) -> None:
    picture = paint(street(), (100, 100, 200, 160, Label.TRUCK))
    picture[:, 150:170] = 70
    decoded = seen_in(network, weathered(picture))
    np.testing.assert_allclose(sorted(decoded.boxes[:, 0]), [100, 170], atol=4.0)


@pytest.mark.parametrize("size", [(1280, 720), (768, 576), (320, 240)])
def test_sprites_are_found_in_frames_of_any_size(network: Network, size: tuple[int, int]) -> None:
    """Placed by fractions of the frame, found by fractions of the frame."""
    picture = np.asarray(cv2.resize(street(), size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    wide, high = size
    painted = paint(picture, (wide // 4, high // 4, wide // 2, high // 2, Label.BUS))
    blob, fit = blob_of(weathered(painted), CARD)
    decoded = decoder_of(CARD).decode(network.infer(blob), CARD.thresholds.count)
    np.testing.assert_allclose(fit.to_fractions(decoded.boxes), [[0.25, 0.25, 0.5, 0.5]], atol=0.012)
