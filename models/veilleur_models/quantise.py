"""Make a network INT8 and find out what that costs, on pictures any machine can get.

clips ──frames_of──▶ even frames ──varied──▶ nncf ──▶ INT8 graph
                └──▶ odd frames ──▶ agreement of INT8 with float32
"""

import contextlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from veilleur_models.card import Calibration, Card
from veilleur_models.decode import DecodedBoxes, decoder_of
from veilleur_models.errors import SourceRejectedError
from veilleur_models.infer import Network, Picture, blob_of
from veilleur_models.nms import overlaps_of
from veilleur_models.quiet import silence_telemetry

if TYPE_CHECKING:
    import openvino

JUDGED_FRAMES = 48
FRAMES_PER_CLIP_LIMIT = 5000
SAME_OBJECT_OVERLAP = 0.6
LEAST_AGREEMENT = 0.85
"""Below this share of float32's detections found again, the build ships float32 instead."""


def frames_of(clips: Mapping[str, bytes], scratch: Path, wanted: int) -> list[Picture]:
    """Choose ``wanted`` frames evenly from ``clips``: the same ones on every machine.

    Args:
        clips: Content of video files, by path.
        scratch: An existing folder for files the video reader wants to read by name.
        wanted: How many in all.

    Raises:
        SourceRejectedError: A clip does not open or holds no frame.
    """
    share = -(-wanted // len(clips))
    frames: list[Picture] = []
    for path, content in clips.items():
        file = scratch / Path(path).name
        file.write_bytes(content)
        clip = list(_clip_frames(file))
        if not clip:
            raise SourceRejectedError(f"the calibration clip {Path(path).name} holds no readable frame")
        frames.extend(clip[index] for index in np.linspace(0, len(clip) - 1, share).astype(int))
    return frames[:wanted]


def _clip_frames(file: Path) -> Iterable[Picture]:
    clip = cv2.VideoCapture(str(file))
    try:
        for _ in range(FRAMES_PER_CLIP_LIMIT):
            read, frame = clip.read()
            if not read:
                return
            yield np.asarray(frame, dtype=np.uint8)
    finally:
        clip.release()


def varied(frames: Sequence[Picture]) -> list[Picture]:
    """Leave every fourth frame as it is; mirror, darken or enlarge the others, in turn."""
    variations: tuple[Callable[[Picture], Picture], ...] = (_as_is, _mirrored, _darkened, _enlarged)
    return [variations[index % len(variations)](frame) for index, frame in enumerate(frames)]


def _as_is(frame: Picture) -> Picture:
    return frame


def _mirrored(frame: Picture) -> Picture:
    return np.ascontiguousarray(frame[:, ::-1])


def _darkened(frame: Picture) -> Picture:
    return (frame * np.float32(0.45)).astype(np.uint8)


def _enlarged(frame: Picture) -> Picture:
    rows, columns = frame.shape[:2]
    return np.ascontiguousarray(frame[rows // 4 : rows - rows // 8, columns // 4 : columns - columns // 8])


def quantised(graph: "openvino.Model", card: Card, pictures: Sequence[Picture]) -> "openvino.Model":
    """Return an INT8 copy of ``graph``, its ranges set by ``pictures`` (NNCF post-training, MIXED preset).

    Measured on NanoDet-g at 640×384, AP50 on 60 COCO pictures, float32 0.644: with NNCF's defaults 0.611; with full
    bias correction and plain minima and maxima, the last convolution before each output left in float32, 0.628.
    """
    silence_telemetry()
    import nncf  # noqa: PLC0415 - only once telemetry is blocked
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet  # noqa: PLC0415 - only once telemetry is blocked

    blobs = [blob_of(picture, card)[0] for picture in pictures]
    nncf.set_log_level(40)  # logging.ERROR: its progress would fight with ours
    # NNCF draws progress bars on the standard output, which belongs to whoever called this command.
    with contextlib.redirect_stdout(io.StringIO()):
        return nncf.quantize(
            graph.clone(),
            nncf.Dataset(blobs),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(blobs),
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(names=_last_convolutions_of(graph)),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
            ),
        )


def _last_convolutions_of(graph: "openvino.Model") -> list[str]:
    """Names of the convolutions nearest to the outputs, each once."""
    names = set()
    for output in graph.outputs:
        node = output.get_node()
        while node.get_type_name() != "Convolution" and node.get_input_size():
            node = node.input_value(0).get_node()
        names.add(node.get_friendly_name())
    return sorted(names)


def agreement_of(
    exact: "openvino.Model", rounded: "openvino.Model", card: Card, pictures: Sequence[Picture]
) -> tuple[float, int]:
    """Share of the detections of either network that the other makes too, at the counting threshold, and of how many.

    The partner of a detection overlaps it by ``SAME_OBJECT_OVERLAP`` or more, bears the same label, and may score down
    to the lower, redaction threshold, so that a score that sits on the edge is no disagreement. (1, 0) where
    neither finds anything.
    """
    networks = [Network(graph, card) for graph in (exact, rounded)]
    decoder = decoder_of(card)
    found, again = 0, 0
    for picture in pictures:
        blob = blob_of(picture, card)[0]
        one, other = (decoder.decode(network.infer(blob), card.thresholds.redact * 0.8) for network in networks)
        for mine, theirs in ((one, other), (other, one)):
            partners = _has_partner(mine, theirs)
            counted = mine.scores >= card.thresholds.count
            found += int(counted.sum())
            again += int((partners & counted).sum())
    return (again / found if found else 1.0), found


def _has_partner(mine: DecodedBoxes, theirs: DecodedBoxes) -> npt.NDArray[np.bool_]:
    same = overlaps_of(mine.boxes, theirs.boxes) >= SAME_OBJECT_OVERLAP
    same &= mine.labels[:, None] == theirs.labels[None, :]
    partners: npt.NDArray[np.bool_] = np.asarray(same.any(axis=1), dtype=bool)
    return partners


def split_of(
    calibration: Calibration, clips: Mapping[str, bytes], scratch: Path
) -> tuple[list[Picture], list[Picture]]:
    """Frames that set the ranges, and other frames that judge the result."""
    frames = frames_of(clips, scratch, calibration.frames * 2)
    return varied(frames[0::2]), frames[1::2][:: max(1, calibration.frames // JUDGED_FRAMES)]
