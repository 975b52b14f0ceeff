import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_builders import card_of_model, nanodet_outputs, renamed, see
from veilleur_contracts.messages import Label
from veilleur_models.card import LabelChannel, OutputContract
from veilleur_models.decode import decoder_of, letterbox_of
from veilleur_models.errors import ModelOutputError

WIDE = card_of_model("nanodet-g-640x384")
FACES = card_of_model("centerface")
SPRITE = card_of_model("sprite")


class TestNanoDet:
    def test_an_empty_street_has_no_box(self) -> None:
        decoded = decoder_of(WIDE).decode(nanodet_outputs(WIDE), 0.25)
        assert decoded.boxes.shape == (0, 4)
        assert decoded.scores.dtype == np.float32
        assert decoded.labels.dtype == np.int8

    @pytest.mark.parametrize("stride", [8, 16, 32])
    @pytest.mark.parametrize("label", list(Label))
    def test_a_box_reaches_from_its_cell_to_four_sides(self, stride: int, label: Label) -> None:
        outputs = nanodet_outputs(WIDE)
        see(outputs, WIDE, stride=stride, cell=(6, 5), channel=label, score=0.9, reach=(1, 2, 3, 4))
        decoded = decoder_of(WIDE).decode(outputs, 0.42)
        centre = (6.5 * stride, 5.5 * stride)
        expected = [centre[0] - stride, centre[1] - 2 * stride, centre[0] + 3 * stride, centre[1] + 4 * stride]
        np.testing.assert_allclose(decoded.boxes, [expected], atol=1e-3)
        np.testing.assert_allclose(decoded.scores, [0.9])
        assert decoded.labels.tolist() == [label]

    def test_a_distance_is_the_expectation_over_its_bins(self) -> None:
        outputs = nanodet_outputs(WIDE)
        see(outputs, WIDE, stride=8, cell=(40, 20), channel=0, score=0.8, reach=(0, 0, 0, 0))
        index = 20 * 80 + 40
        edges = outputs["edges_8"][0, index]
        edges[:] = 0.0
        edges[0:11] = np.log(np.array([1, 3, *[1e-12] * 9], dtype=np.float32))  # a quarter at 0, three quarters at 1
        box = decoder_of(WIDE).decode(outputs, 0.42).boxes[0]
        assert box[0] == pytest.approx(40.5 * 8 - 0.75 * 8, abs=1e-3)
        assert box[2] == pytest.approx(40.5 * 8 + 5 * 8, abs=1e-3)  # an even spread means the middle, 5

    @pytest.mark.parametrize(
        ("first", "second", "left"),
        [
            pytest.param(Label.CAR, Label.TRUCK, [Label.CAR], id="a van is one motor vehicle"),
            pytest.param(Label.BUS, Label.CAR, [Label.BUS], id="the surer label names it"),
            pytest.param(Label.MOTORCYCLE, Label.BICYCLE, [Label.MOTORCYCLE], id="a moped is one two-wheeler"),
            pytest.param(
                Label.PERSON, Label.BICYCLE, [Label.PERSON, Label.BICYCLE], id="a rider and a bicycle are two"
            ),
            pytest.param(Label.PERSON, Label.CAR, [Label.PERSON, Label.CAR], id="a person before a car is there"),
            pytest.param(
                Label.CAR, Label.MOTORCYCLE, [Label.CAR, Label.MOTORCYCLE], id="groups leave each other alone"
            ),
        ],
    )
    def test_one_object_bears_one_label_of_its_group(self, first: Label, second: Label, left: list[Label]) -> None:
        outputs = nanodet_outputs(WIDE)
        see(outputs, WIDE, stride=16, cell=(10, 10), channel=first, score=0.9, reach=(3, 3, 3, 3))
        see(outputs, WIDE, stride=16, cell=(10, 10), channel=second, score=0.8, reach=(3, 3, 3, 3))
        assert decoder_of(WIDE).decode(outputs, 0.42).labels.tolist() == left

    def test_neighbours_that_overlap_little_both_stay(self) -> None:
        outputs = nanodet_outputs(WIDE)
        see(outputs, WIDE, stride=16, cell=(10, 10), channel=0, score=0.9, reach=(2, 4, 2, 4))
        see(outputs, WIDE, stride=16, cell=(12, 10), channel=0, score=0.7, reach=(2, 4, 2, 4))
        assert decoder_of(WIDE).decode(outputs, 0.42).scores.tolist() == pytest.approx([0.9, 0.7])

    @pytest.mark.parametrize(("threshold", "seen"), [(0.25, 2), (0.42, 1), (0.95, 0)])
    def test_a_lower_threshold_covers_more(self, threshold: float, seen: int) -> None:
        outputs = nanodet_outputs(WIDE)
        see(outputs, WIDE, stride=8, cell=(10, 10), channel=0, score=0.9, reach=(2, 2, 2, 2))
        see(outputs, WIDE, stride=8, cell=(50, 30), channel=0, score=0.3, reach=(2, 2, 2, 2))
        assert decoder_of(WIDE).decode(outputs, threshold).scores.size == seen

    def test_a_crowded_frame_stays_bounded(self) -> None:
        outputs = nanodet_outputs(WIDE)
        generator = np.random.default_rng(3)
        for stride in (8, 16, 32):
            outputs[f"scores_{stride}"][:] = generator.random(outputs[f"scores_{stride}"].shape)
        decoded = decoder_of(WIDE).decode(outputs, 0.1)
        assert 0 < decoded.scores.size <= 400
        assert (np.diff(decoded.scores) <= 0).all()

    def test_channels_follow_the_card(self) -> None:
        card = renamed(
            WIDE,
            labels=(LabelChannel(channel=7, label="truck"), LabelChannel(channel=2, label="car")),
            outputs=tuple(
                OutputContract(name=output.name, shape=(*output.shape[:2], 80)) if "scores" in output.name else output
                for output in WIDE.outputs
            ),
        )
        outputs = nanodet_outputs(card)
        see(outputs, card, stride=8, cell=(10, 10), channel=7, score=0.9, reach=(2, 2, 2, 2))
        see(outputs, card, stride=8, cell=(30, 10), channel=0, score=0.9, reach=(2, 2, 2, 2))  # nobody asked for it
        assert decoder_of(card).decode(outputs, 0.42).labels.tolist() == [Label.TRUCK]

    @pytest.mark.parametrize("name", ["scores_8", "edges_32"])
    def test_a_missing_or_misshapen_output_is_refused(self, name: str) -> None:
        outputs = nanodet_outputs(WIDE)
        outputs[name] = outputs[name][:, :-1]
        with pytest.raises(ModelOutputError, match=f"output '{name}' should be"):
            decoder_of(WIDE).decode(outputs, 0.42)
        del outputs[name]
        with pytest.raises(ModelOutputError, match="is nothing"):
            decoder_of(WIDE).decode(outputs, 0.42)

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_numbers_that_are_not_finite_are_no_empty_street(self, value: float) -> None:
        outputs = nanodet_outputs(WIDE)
        outputs["scores_16"][0, 17, 3] = value
        with pytest.raises(ModelOutputError, match="not finite"):
            decoder_of(WIDE).decode(outputs, 0.42)

    def test_broken_distances_are_refused_too(self) -> None:
        outputs = nanodet_outputs(WIDE)
        see(outputs, WIDE, stride=8, cell=(10, 10), channel=0, score=0.9, reach=(2, 2, 2, 2))
        outputs["edges_8"][0, 10 * 80 + 10, 5] = math.nan
        with pytest.raises(ModelOutputError, match="not finite"):
            decoder_of(WIDE).decode(outputs, 0.42)

    def test_a_card_whose_labels_point_past_the_network_is_refused(self) -> None:
        card = renamed(WIDE, labels=(LabelChannel(channel=6, label="person"),))
        with pytest.raises(ModelOutputError, match="channel"):
            decoder_of(card)


class TestCenterFace:
    def outputs(self) -> dict[str, np.ndarray]:
        return {output.name: np.zeros(output.shape, dtype=np.float32) for output in FACES.outputs}

    def test_a_face_lies_around_its_cell(self) -> None:
        outputs = self.outputs()
        outputs["heat"][0, 0, 20, 30] = 0.9
        outputs["size"][0, :, 20, 30] = (math.log(6), math.log(4))  # height, width, in cells
        outputs["offset"][0, :, 20, 30] = (0.25, -0.25)  # y, x
        decoded = decoder_of(FACES).decode(outputs, 0.2)
        centre_x, centre_y = (30 - 0.25 + 0.5) * 4, (20 + 0.25 + 0.5) * 4
        expected = [[centre_x - 8, centre_y - 12, centre_x + 8, centre_y + 12]]
        np.testing.assert_allclose(decoded.boxes, expected, atol=1e-3)
        assert decoded.labels.tolist() == [-1]

    def test_one_face_is_one_box(self) -> None:
        outputs = self.outputs()
        outputs["size"][:] = math.log(8)
        outputs["heat"][0, 0, 20, 30:33] = (0.5, 0.9, 0.6)
        outputs["heat"][0, 0, 70, 100] = 0.3
        assert decoder_of(FACES).decode(outputs, 0.2).scores.tolist() == pytest.approx([0.9, 0.3])

    def test_an_absurd_size_stays_finite(self) -> None:
        outputs = self.outputs()
        outputs["heat"][0, 0, 0, 0] = 0.9
        outputs["size"][:] = 1e6
        assert np.isfinite(decoder_of(FACES).decode(outputs, 0.2).boxes).all()

    @pytest.mark.parametrize("name", ["heat", "size", "offset"])
    def test_numbers_that_are_not_finite_are_refused(self, name: str) -> None:
        outputs = self.outputs()
        outputs["heat"][0, 0, 5, 5] = 0.9
        outputs[name][0, 0, 5, 5] = math.nan
        with pytest.raises(ModelOutputError, match="not finite"):
            decoder_of(FACES).decode(outputs, 0.2)


class TestSprite:
    def test_connected_cells_of_one_colour_are_one_box(self) -> None:
        colour = np.zeros((1, 1, 192, 320), dtype=np.float32)
        colour[0, 0, 10:20, 30:36] = 1 + Label.CAR
        colour[0, 0, 10:20, 37:43] = 1 + Label.CAR
        colour[0, 0, 100:104, 100:104] = 1 + Label.BUS
        decoded = decoder_of(SPRITE).decode({"colour": colour}, 0.45)
        found = sorted(zip(decoded.labels.tolist(), decoded.boxes.tolist(), strict=True))
        assert found == [
            (Label.CAR, [60, 20, 72, 40]),
            (Label.CAR, [74, 20, 86, 40]),
            (Label.BUS, [200, 200, 208, 208]),
        ]
        assert decoded.scores.tolist() == [1.0, 1.0, 1.0]

    def test_specks_and_ragged_shapes_are_no_sprites(self) -> None:
        colour = np.zeros((1, 1, 192, 320), dtype=np.float32)
        colour[0, 0, 5, 5:100] = 1  # a line
        colour[0, 0, 50:53, 50:53] = 1  # too small
        colour[0, 0, 60:160, 60] = colour[0, 0, 159, 60:160] = 1  # an angle fills little of its box
        assert decoder_of(SPRITE).decode({"colour": colour}, 0.45).scores.size == 0


class TestLetterbox:
    @pytest.mark.parametrize(
        ("size", "content", "corner"),
        [
            pytest.param((1920, 1080), (640, 360), (0, 12), id="sixteen to nine"),
            pytest.param((768, 576), (512, 384), (64, 0), id="four to three"),
            pytest.param((640, 384), (640, 384), (0, 0), id="exactly"),
            pytest.param((320, 192), (640, 384), (0, 0), id="enlarged"),
            pytest.param((1, 4000), (1, 384), (319, 0), id="absurdly tall"),
        ],
    )
    def test_a_frame_is_scaled_by_one_factor_and_centred(self, size, content, corner) -> None:
        fit = letterbox_of(*size, WIDE)
        assert (fit.content_width, fit.content_height) == content
        assert (fit.left, fit.top) == corner

    @given(
        st.integers(1, 5000),
        st.integers(1, 5000),
        st.lists(st.floats(-2000, 2000, width=32), min_size=4, max_size=4),
    )
    def test_fractions_lie_in_the_frame_and_keep_their_order(self, width: int, height: int, box: list[float]) -> None:
        ordered = np.array([[min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])]])
        fractions = letterbox_of(width, height, WIDE).to_fractions(ordered.astype(np.float32))[0]
        assert fractions.dtype == np.float32
        assert ((fractions >= 0) & (fractions <= 1)).all()
        assert fractions[0] <= fractions[2]
        assert fractions[1] <= fractions[3]

    def test_the_whole_content_is_the_whole_frame(self) -> None:
        fit = letterbox_of(1920, 1080, WIDE)
        whole = np.array([[0, 12, 640, 372], [160, 102, 480, 282]], dtype=np.float32)
        np.testing.assert_allclose(fit.to_fractions(whole), [[0, 0, 1, 1], [0.25, 0.25, 0.75, 0.75]])

    @pytest.mark.parametrize("size", [(0, 10), (10, 0), (-1, 5)])
    def test_a_frame_without_pixels_is_refused(self, size: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match="cannot be shown"):
            letterbox_of(*size, WIDE)
