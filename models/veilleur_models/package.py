"""Open a built package, refusing whatever does not hold.

catalogue/<model>/card.toml ──build──▶ <cache>/<model>/card.toml   the same text + [built]
                                                       model.xml  model.bin  labels.txt  golden.npz
                                                         │
                                                         └──load──▶ ModelPackage (bytes already verified)
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from veilleur_models.card import CARD_FILE, CARD_LIMIT_BYTES, FILE_LIMIT_BYTES, Built, Card, card_of
from veilleur_models.errors import ModelRejectedError
from veilleur_models.quiet import silence_telemetry
from veilleur_models.settings import how_to_build

GRAPH_FILE = "model.xml"
WEIGHTS_FILE = "model.bin"
LABELS_FILE = "labels.txt"
GOLDEN_FILE = "golden.npz"
PACKAGE_FILES = (GRAPH_FILE, WEIGHTS_FILE, LABELS_FILE, GOLDEN_FILE)

GOLDEN_LIMIT_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class GoldenOutput:
    """Some values of one raw output: flat positions (int64) and what stood there (float32), and the largest value."""

    positions: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class GoldenSample:
    """One picture and what the network answered when it was built.

    Attributes:
        pixels: uint8, shape ``(height, width, 3)``, in the colour order of the input contract, not normalised.
        outputs: By output name.
        tolerance: Largest difference another CPU may show, as a share of each output's largest absolute value.
    """

    pixels: npt.NDArray[np.uint8]
    outputs: Mapping[str, GoldenOutput]
    tolerance: float


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A package whose every byte was checked against its card; ``xml`` and ``weights`` go to ``Core.read_model``."""

    card: Card
    xml: bytes
    weights: bytes
    labels: tuple[str, ...]
    golden: GoldenSample


def read_card(directory: Path) -> Card:
    """Read the card of a package, and nothing else of it.

    Raises:
        ModelRejectedError: It is missing or does not hold.
    """
    return card_of(_read(directory / CARD_FILE, CARD_LIMIT_BYTES), f"{directory.name}/{CARD_FILE}")


def load(directory: Path) -> ModelPackage:
    """Open a built package, checking every file against the card and the network against the contract.

    Raises:
        ModelRejectedError: A file is missing, was changed, or does not fit the card.
    """
    card = read_card(directory)
    if card.built is None:
        raise ModelRejectedError(f"{directory.name} was never built: run '{how_to_build(card.name)}'")
    files = {name: _verified(directory, name, card.built) for name in PACKAGE_FILES}
    labels = tuple(files[LABELS_FILE].decode("utf-8", "replace").split())
    if labels != tuple(channel.label for channel in card.labels):
        raise ModelRejectedError(f"{directory.name}/{LABELS_FILE} and the card name different labels: build it again")
    _check_shapes(card, files[GRAPH_FILE], files[WEIGHTS_FILE])
    golden = _golden_of(files[GOLDEN_FILE], card)
    return ModelPackage(card=card, xml=files[GRAPH_FILE], weights=files[WEIGHTS_FILE], labels=labels, golden=golden)


def _read(path: Path, limit_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ModelRejectedError(
            f"{path} cannot be read ({reason}): run '{how_to_build()}', or say where the models are (--models, "
            "VEILLEUR_MODEL_CACHE)"
        ) from error
    if len(content) > limit_bytes:
        raise ModelRejectedError(f"{path.parent.name}/{path.name} is larger than {limit_bytes} bytes: build it again")
    return content


def _verified(directory: Path, name: str, built: Built) -> bytes:
    proof = built.files.get(name)
    if proof is None:
        raise ModelRejectedError(f"{directory.name}/{CARD_FILE} has no hash for {name}: build it again")
    content = _read(directory / name, FILE_LIMIT_BYTES)
    if hashlib.sha256(content).hexdigest() != proof.sha256:
        raise ModelRejectedError(
            f"{directory.name}/{name} is not what the card describes (SHA-256 differs): build it again"
        )
    return content


def _check_shapes(card: Card, xml: bytes, weights: bytes) -> None:
    silence_telemetry()
    import openvino  # noqa: PLC0415 - only once telemetry is blocked, and only by those who open a network

    try:
        graph = openvino.Core().read_model(xml, weights)
        inputs = {port.any_name: tuple(port.shape) for port in graph.inputs}
        outputs = {port.any_name: tuple(port.shape) for port in graph.outputs}
    except RuntimeError as error:
        raise ModelRejectedError(f"{card.name}: OpenVINO cannot read {GRAPH_FILE}: build it again") from error
    if inputs != {card.input.name: card.input.shape}:
        raise ModelRejectedError(
            f"{card.name}: the network wants {_shapes(inputs)}, the card says "
            f"{_shapes({card.input.name: card.input.shape})}: build it again"
        )
    expected = {output.name: output.shape for output in card.outputs}
    if outputs != expected:
        raise ModelRejectedError(
            f"{card.name}: the network gives {_shapes(outputs)}, the card says {_shapes(expected)}: build it again"
        )


def _shapes(ports: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in ports.items())


def _golden_of(content: bytes, card: Card) -> GoldenSample:
    refusal = f"{card.name}/{GOLDEN_FILE} cannot be read: build it again"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > GOLDEN_LIMIT_BYTES:
                raise ModelRejectedError(refusal)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            outputs = {
                output.name: GoldenOutput(
                    positions=arrays[f"{output.name}.positions"], values=arrays[f"{output.name}.values"]
                )
                for output in card.outputs
            }
            sample = GoldenSample(pixels=arrays["pixels"], outputs=outputs, tolerance=float(arrays["tolerance"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelRejectedError(refusal) from error
    if sample.pixels.shape != (card.input.height, card.input.width, 3) or sample.pixels.dtype != np.uint8:
        raise ModelRejectedError(refusal)
    return sample
