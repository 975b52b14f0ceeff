import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from model_builders import ROOT, built_sprite, real_package
from veilleur_models.cli import app
from veilleur_models.decode import decoder_of
from veilleur_models.errors import GroundTruthError, ModelRejectedError
from veilleur_models.evaluate import evaluate
from veilleur_models.golden import difference_of
from veilleur_models.ground_truth import picture_of, read_ground_truth
from veilleur_models.infer import Network, pixels_to_blob
from veilleur_models.package import load
from veilleur_models.quiet import silence_telemetry
from veilleur_models.sprite import PALETTE

COCO60 = ROOT.parent / "shared" / "eval" / "coco60"
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}, {"id": 44, "name": "bottle"}]


def write_picture(path: Path, picture: np.ndarray) -> None:
    encoded, content = cv2.imencode(".png", picture)  # noqa: TID251 - a drawn picture, written by a test
    assert encoded
    path.write_bytes(content.tobytes())


def data_set(folder: Path, **changes: object) -> tuple[Path, Path]:
    """Two drawn pictures: a red and a blue sprite on the first, nothing on the second; one bottle nobody asks for."""
    images = folder / "images"
    images.mkdir(exist_ok=True)
    street = np.full((360, 640, 3), 110, dtype=np.uint8)
    write_picture(images / "b.png", street)
    street[100:180, 100:140] = PALETTE[0]
    street[200:280, 300:420] = PALETTE[2]
    write_picture(images / "a.png", street)
    document: dict[str, object] = {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 640, "height": 360},
            {"id": 8, "file_name": "b.png", "width": 640, "height": 360},
        ],
        "annotations": [
            {"image_id": 7, "category_id": 1, "bbox": [100, 100, 40, 80], "iscrowd": 0},
            {"image_id": 7, "category_id": 3, "bbox": [300, 200, 120, 80]},
            {"image_id": 7, "category_id": 44, "bbox": [10, 10, 5, 5]},
        ],
        "categories": CATEGORIES,
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(document | changes))
    return path, images


def test_a_model_that_finds_all_and_no_more_is_perfect(tmp_path: Path) -> None:
    package = load(built_sprite(tmp_path / "cache").package("sprite"))
    seen = []
    report = evaluate(package, read_ground_truth(*data_set(tmp_path)), lambda: seen.append(1))
    assert len(seen) == 2
    assert (report.ap50, report.labels["person"].recall, report.labels["car"].precision) == (1.0, 1.0, 1.0)
    assert report.labels["bus"].ap is None
    assert report.groups["motor vehicles"].objects == 1
    assert report.groups["road users"].ap50 == 1.0


def test_a_missed_object_and_a_false_one_show(tmp_path: Path) -> None:
    annotations = [
        {"image_id": 8, "category_id": 1, "bbox": [100, 100, 40, 80]},  # in the wrong picture
        {"image_id": 7, "category_id": 3, "bbox": [300, 200, 120, 80]},
    ]
    package = load(built_sprite(tmp_path / "cache").package("sprite"))
    pictures = read_ground_truth(*data_set(tmp_path, annotations=annotations))
    report = evaluate(package, pictures, lambda: None)
    assert (report.labels["person"].precision, report.labels["person"].recall) == (0.0, 0.0)
    assert report.ap50 == 0.5


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            pytest.param({"categories": []}, "none of the categories person", id="no category"),
            pytest.param({"images": []}, "annotates image 7, which it does not list", id="annotation of no image"),
            pytest.param({"images": [], "annotations": []}, "lists no image", id="no image"),
            pytest.param({"images": 5}, r"is not a COCO instances\.json", id="wrong type"),
            pytest.param(
                {"images": [{"id": 1, "file_name": "c.png", "width": 1, "height": 1}], "annotations": []},
                r"lists 'c\.png', which is not in",
                id="missing image",
            ),
            pytest.param(
                {"images": [{"id": 1, "file_name": "../instances.json", "width": 1, "height": 1}], "annotations": []},
                "outside",
                id="outside the folder",
            ),
            pytest.param(
                {"images": [{"id": 7, "file_name": "a.png", "width": 60_000, "height": 60_000}], "annotations": []},
                "more than 100000000 pixels",
                id="too many pixels",
            ),
            pytest.param(
                {"annotations": [{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3]}]},
                r"is not a COCO instances\.json",
                id="three numbers",
            ),
        ],
    )
    def test_annotations_that_do_not_hold_are_refused(
        self, tmp_path: Path, changes: dict[str, object], sentence: str
    ) -> None:
        with pytest.raises(GroundTruthError, match=sentence):
            read_ground_truth(*data_set(tmp_path, **changes))

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 10_000, b'{"images": [1e999]}'])
    def test_what_is_no_json_is_refused(self, tmp_path: Path, content: bytes) -> None:
        path, images = data_set(tmp_path)
        path.write_bytes(content)
        with pytest.raises(GroundTruthError, match=r"is not a COCO instances\.json"):
            read_ground_truth(path, images)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(GroundTruthError, match="No such file"):
            read_ground_truth(tmp_path / "none.json", tmp_path)

    @pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff\xd8\xff\xe0broken"])
    def test_a_file_that_is_no_picture_is_named(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.jpg").write_bytes(content)
        with pytest.raises(GroundTruthError, match=r"'x\.jpg' cannot be decoded"):
            picture_of(tmp_path / "x.jpg")


class TestCommands:
    def test_evaluate_prints_one_object(self, tmp_path: Path) -> None:
        cache = built_sprite(tmp_path / "cache").folder
        annotations, images = data_set(tmp_path)
        asked = ["evaluate", "sprite", "--coco", str(annotations), "--images", str(images), "--cache", str(cache)]
        told = CliRunner().invoke(app, [*asked, "--json"])
        assert told.exit_code == 0
        assert json.loads(told.stdout)["ap50"] == 1.0
        assert "two-wheelers" in CliRunner().invoke(app, asked).stdout

    def test_list_and_show_tell_what_is_built(self, tmp_path: Path) -> None:
        cache = built_sprite(tmp_path).folder
        listed = json.loads(CliRunner().invoke(app, ["list", "--cache", str(cache), "--json"]).stdout)
        assert {card["name"]: card["is_built"] for card in listed}["sprite"] is True
        assert {card["name"]: card["is_built"] for card in listed}["centerface"] is False
        assert "not built" in CliRunner().invoke(app, ["list", "--cache", str(cache)]).stdout
        shown = CliRunner().invoke(app, ["show", "sprite", "--cache", str(cache)])
        assert "EUPL-1.2" in shown.stdout
        assert "model.bin" in shown.stdout

    @pytest.mark.parametrize(
        "asked", [["build", "yolo"], ["show", "yolo"], ["evaluate", "yolo", "--coco", "x", "--images", "y"]]
    )
    def test_an_unknown_model_is_refused(self, tmp_path: Path, asked: list[str]) -> None:
        told = CliRunner().invoke(app, [*asked, "--cache", str(tmp_path)])
        assert isinstance(told.exception, ModelRejectedError)


class TestRealModels:
    """The networks of the shared cache, where ``make models`` built them."""

    @pytest.mark.parametrize("name", ["nanodet-g-640x384", "nanodet-g-416", "centerface", "sprite"])
    def test_a_built_network_answers_its_golden_sample(self, name: str) -> None:
        package = real_package(name)
        outputs = network_of(package).infer(pixels_to_blob(package.golden.pixels, package.card))
        assert difference_of(package.golden, outputs) <= package.golden.tolerance
        decoder_of(package.card).decode(outputs, package.card.thresholds.redact)

    @pytest.mark.parametrize("name", ["nanodet-g-640x384", "nanodet-g-416"])
    def test_what_is_shipped_loses_at_most_two_hundredths_to_float32(self, name: str) -> None:
        package = real_package(name)
        if not COCO60.is_dir():
            pytest.skip("the 60 COCO pictures are not on this machine (../shared/eval/coco60)")
        exact = next(accuracy for accuracy in package.card.accuracy if accuracy.precision == "FP32")
        report = evaluate(package, read_ground_truth(COCO60 / "instances.json", COCO60 / "images"), lambda: None)
        assert report.ap50 is not None
        assert report.ap50 >= exact.ap50 - 0.02
        assert report.labels["person"].ap50 is not None
        assert report.labels["person"].ap50 >= exact.ap50_by_label["person"] - 0.02


def network_of(package) -> Network:
    silence_telemetry()
    import openvino  # noqa: PLC0415 - only once telemetry is blocked

    return Network(openvino.Core().read_model(package.xml, package.weights), package.card)
