import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from model_builders import built_sprite, edit_card, entry_of, rehash
from veilleur_contracts.messages import Label
from veilleur_models.card import CARD_LIMIT_BYTES, ROAD_USERS, card_of
from veilleur_models.catalogue import (
    DEFAULT_DETECTOR,
    FACE_DETECTOR,
    catalogue_directory,
    chosen_of,
    read_catalogue,
)
from veilleur_models.errors import ModelRejectedError
from veilleur_models.golden import difference_of
from veilleur_models.package import PACKAGE_FILES, load


@pytest.fixture(scope="module")
def sprite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_sprite(tmp_path_factory.mktemp("models")).package("sprite")


@pytest.fixture
def package(sprite: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sprite, tmp_path / "sprite"))


def test_a_whole_package_opens(package: Path) -> None:
    opened = load(package)
    assert opened.labels == ROAD_USERS
    assert opened.xml == (package / "model.xml").read_bytes()
    assert opened.golden.pixels.shape == (384, 640, 3)


@pytest.mark.parametrize("name", PACKAGE_FILES)
def test_a_changed_file_is_refused_by_name(package: Path, name: str) -> None:
    content = bytearray((package / name).read_bytes())
    content[len(content) // 2] ^= 1
    (package / name).write_bytes(content)
    with pytest.raises(ModelRejectedError, match=rf"sprite/{name} is not what the card describes"):
        load(package)


@pytest.mark.parametrize("name", [*PACKAGE_FILES, "card.toml"])
def test_a_missing_file_is_refused_by_name(package: Path, name: str) -> None:
    (package / name).unlink()
    with pytest.raises(
        ModelRejectedError, match=rf"sprite/{name} cannot be read .* run '.*veilleur-models build', or say where"
    ):
        load(package)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        pytest.param(r"width = 640", "width = 672", "the network wants image 1x3x384x640, the card says", id="input"),
        pytest.param(r"192, 320\]", "192, 336]", "the network gives colour 1x1x192x320, the card says", id="output"),
        pytest.param(r'name = "colour"', 'name = "colors"', "the network gives colour", id="output name"),
        pytest.param(r"biometric_capable = false", "biometric_capable = true", "has no place", id="biometric"),
        pytest.param(r"redact = 0.25", "redact = 0.9", "must not be above", id="thresholds"),
        pytest.param(r"count = 0.45", "count = 1.5", "valid model card", id="threshold out of range"),
        pytest.param(r'decoder = "sprite"', 'decoder = "exec"', "valid model card", id="unknown decoder"),
        pytest.param(r"format = 1", "format = 2", "valid model card", id="a later format"),
        pytest.param(r"format = 1", 'format = 1\ncolour = "red"', "unknown field", id="unknown key"),
        pytest.param(r'label = "bus"', 'label = "tram"', "valid model card", id="unknown label"),
        pytest.param(r'label = "bus"', 'label = "car"', "different labels", id="labels file disagrees"),
        pytest.param(r"\[built\]", "[built", "valid model card", id="no TOML"),
        pytest.param(r"\[built.files.\"model.bin\"\]", '[built.files."x"]', "has no hash for model.bin", id="no hash"),
        pytest.param(r"scale = \[1.0, 1.0, 1.0\]", "scale = [1.0, 0.0, 1.0]", "above 0", id="division by zero"),
    ],
)
def test_a_card_that_does_not_hold_is_refused(package: Path, old: str, new: str, sentence: str) -> None:
    edit_card(package, old, new)
    with pytest.raises(ModelRejectedError, match=sentence) as refusal:
        load(package)
    assert "\n" not in str(refusal.value)


def test_a_catalogue_card_is_no_package(tmp_path: Path) -> None:
    (tmp_path / "card.toml").write_text(entry_of("sprite").text)
    with pytest.raises(ModelRejectedError, match=r"was never built: run '.*veilleur-models build sprite'"):
        load(tmp_path)


def test_a_graph_openvino_cannot_read_is_refused_even_with_its_hash(package: Path) -> None:
    (package / "model.xml").write_text("<net name='x' version='11'><layers/></net")
    rehash(package, "model.xml")
    with pytest.raises(ModelRejectedError, match=r"OpenVINO cannot read model\.xml"):
        load(package)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip"])
def test_a_broken_golden_sample_is_refused_even_with_its_hash(package: Path, content: bytes) -> None:
    (package / "golden.npz").write_bytes(content)
    rehash(package, "golden.npz")
    with pytest.raises(ModelRejectedError, match=r"golden\.npz cannot be read"):
        load(package)


def test_a_golden_sample_cannot_carry_objects_to_unpickle(package: Path) -> None:
    np.savez(package / "golden.npz", pixels=np.array([os.system], dtype=object))
    rehash(package, "golden.npz")
    with pytest.raises(ModelRejectedError, match=r"golden\.npz cannot be read"):
        load(package)


def test_a_golden_sample_that_unpacks_to_too_much_is_refused(package: Path) -> None:
    np.savez_compressed(package / "golden.npz", pixels=np.zeros((4000, 4000, 3), dtype=np.uint8))
    rehash(package, "golden.npz")
    with pytest.raises(ModelRejectedError, match=r"golden\.npz cannot be read"):
        load(package)


def test_golden_values_tell_an_equal_answer_from_a_wrong_one(package: Path) -> None:
    golden = load(package).golden
    answer = np.zeros((1, 1, 192, 320), dtype=np.float32)
    kept = golden.outputs["colour"]
    answer.reshape(-1)[kept.positions] = kept.values
    assert difference_of(golden, {"colour": answer}) == 0.0
    assert difference_of(golden, {"colour": answer * np.float32(0.9)}) == pytest.approx(0.1, abs=0.01)
    assert difference_of(golden, {"colour": answer[:, :, :10]}) == float("inf")
    assert difference_of(golden, {"colour": np.full_like(answer, np.nan)}) == float("inf")
    assert difference_of(golden, {}) == float("inf")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe", id="not text"),
        pytest.param(b"x = " + b"[" * 20_000, id="deep"),
        pytest.param(b"#" * (CARD_LIMIT_BYTES + 1), id="long"),
        pytest.param(b"format = 1\nformat = 1", id="twice"),
    ],
)
def test_hostile_cards_get_one_sentence(text: bytes) -> None:
    with pytest.raises(ModelRejectedError, match=r"the card"):
        card_of(text, "the card")


class TestCatalogue:
    def test_every_card_holds_and_lies_in_its_own_folder_with_a_sheet(self) -> None:
        entries = read_catalogue(catalogue_directory())
        assert {DEFAULT_DETECTOR, FACE_DETECTOR, "sprite", "nanodet-g-416"} <= set(entries)
        for name in entries:
            assert (catalogue_directory() / name / "README.md").stat().st_size > 0

    def test_no_model_can_identify_and_every_one_says_its_limits(self) -> None:
        for entry in read_catalogue(catalogue_directory()).values():
            assert entry.card.biometric_capable is False
            assert entry.card.limits
            assert entry.card.built is None

    def test_int8_loses_at_most_two_hundredths(self) -> None:
        for entry in read_catalogue(catalogue_directory()).values():
            by_precision = {accuracy.precision: accuracy.ap50 for accuracy in entry.card.accuracy}
            if "INT8" in by_precision:
                assert by_precision["FP32"] - by_precision["INT8"] <= 0.02

    def test_label_numbers_are_those_of_the_wire(self) -> None:
        for name in (DEFAULT_DETECTOR, "nanodet-g-416", "sprite"):
            assert [channel.number for channel in entry_of(name).card.labels] == list(Label)
        assert [channel.number for channel in entry_of(FACE_DETECTOR).card.labels] == [-1]

    def test_a_card_in_the_wrong_folder_is_refused(self, tmp_path: Path) -> None:
        shutil.copytree(catalogue_directory() / "sprite", tmp_path / "fairy")
        with pytest.raises(ModelRejectedError, match="calls its model 'sprite'"):
            read_catalogue(tmp_path)

    def test_an_unknown_name_is_answered_with_the_known_ones(self) -> None:
        with pytest.raises(ModelRejectedError, match="'yolo' is not in the catalogue: choose among centerface"):
            chosen_of(read_catalogue(catalogue_directory()), ["yolo"])
