"""Read pictures annotated in COCO's format, keeping road users alone.

instances.json ──read_ground_truth──▶ [AnnotatedPicture] ──picture_of──▶ pixels, one picture at a time
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import msgspec
import numpy as np

from veilleur_models.average_precision import Truth
from veilleur_models.card import ROAD_USERS
from veilleur_models.errors import GroundTruthError
from veilleur_models.infer import Picture

ANNOTATIONS_LIMIT_BYTES = 512 * 1024 * 1024
PICTURE_LIMIT_BYTES = 64 * 1024 * 1024
PICTURE_LIMIT_PIXELS = 100_000_000

Number = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Side = Annotated[int, msgspec.Meta(ge=1, le=65_535)]


class CocoImage(msgspec.Struct, frozen=True):
    """One picture of the data set; what else COCO says of it is not read."""

    id: int
    file_name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    width: Side
    height: Side


class CocoAnnotation(msgspec.Struct, frozen=True):
    """One object: ``bbox`` is left, top, width, height in pixels."""

    image_id: int
    category_id: int
    bbox: tuple[Number, Number, Number, Number]
    iscrowd: int = 0


class CocoCategory(msgspec.Struct, frozen=True):
    """A label of the data set."""

    id: int
    name: Annotated[str, msgspec.Meta(max_length=255)]


class CocoFile(msgspec.Struct, frozen=True):
    """What is read of an ``instances.json``."""

    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]


@dataclass(frozen=True, slots=True)
class AnnotatedPicture:
    """Where a picture lies and what it shows, boxes in its own pixels."""

    path: Path
    truth: Truth


def read_ground_truth(annotations: Path, pictures: Path) -> list[AnnotatedPicture]:
    """Read which pictures there are and what they show.

    Args:
        annotations: A COCO ``instances.json``.
        pictures: The folder that holds the pictures it names.

    Raises:
        GroundTruthError: The file is no such thing, or a picture it names is not there.
    """
    coco = _decoded(annotations)
    labels = {
        category.id: ROAD_USERS.index(category.name) for category in coco.categories if category.name in ROAD_USERS
    }
    if not labels:
        raise GroundTruthError(f"{annotations.name} has none of the categories {', '.join(ROAD_USERS)}")
    shown: dict[int, list[CocoAnnotation]] = {image.id: [] for image in coco.images}
    for annotation in coco.annotations:
        if annotation.image_id not in shown:
            raise GroundTruthError(f"{annotations.name} annotates image {annotation.image_id}, which it does not list")
        if annotation.category_id in labels:
            shown[annotation.image_id].append(annotation)
    if not coco.images:
        raise GroundTruthError(f"{annotations.name} lists no image")
    return [
        AnnotatedPicture(_path_of(image, annotations, pictures), _truth_of(shown[image.id], labels))
        for image in coco.images
    ]


def _decoded(annotations: Path) -> CocoFile:
    try:
        if annotations.stat().st_size > ANNOTATIONS_LIMIT_BYTES:
            raise GroundTruthError(f"{annotations.name} is larger than {ANNOTATIONS_LIMIT_BYTES} bytes")
        return msgspec.json.decode(annotations.read_bytes(), type=CocoFile)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise GroundTruthError(f"{annotations} cannot be read ({reason}): name a COCO instances.json") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise GroundTruthError(f"{annotations.name} is not a COCO instances.json: {error}") from error


def _path_of(image: CocoImage, annotations: Path, pictures: Path) -> Path:
    path = pictures / image.file_name
    if not path.resolve().is_relative_to(pictures.resolve()):
        raise GroundTruthError(f"{annotations.name} names the image '{image.file_name}', outside {pictures}")
    if not path.is_file():
        raise GroundTruthError(f"{annotations.name} lists '{image.file_name}', which is not in {pictures}")
    if image.width * image.height > PICTURE_LIMIT_PIXELS:
        raise GroundTruthError(f"{annotations.name} gives '{image.file_name}' more than {PICTURE_LIMIT_PIXELS} pixels")
    return path


def _truth_of(shown: list[CocoAnnotation], labels: dict[int, int]) -> Truth:
    corners = np.array([annotation.bbox for annotation in shown], dtype=np.float32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return Truth(
        boxes=corners,
        labels=np.array([labels[annotation.category_id] for annotation in shown], dtype=np.int8),
        crowds=np.array([annotation.iscrowd != 0 for annotation in shown], dtype=bool),
    )


def picture_of(path: Path) -> Picture:
    """Read one picture as blue, green, red.

    Raises:
        GroundTruthError: It is too large or no picture.
    """
    if path.stat().st_size > PICTURE_LIMIT_BYTES:
        raise GroundTruthError(f"the image '{path.name}' is larger than {PICTURE_LIMIT_BYTES} bytes")
    try:
        decoded = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # what it says of empty and corrupt files is about its own source code
        decoded = None
    if decoded is None:
        raise GroundTruthError(f"the image '{path.name}' cannot be decoded: replace it")
    return np.asarray(decoded, dtype=np.uint8)
