"""Judge detections against the truth as COCO does: average precision over ten overlaps, crowds ignored.

    per image: truth + detections ──match at IoU 0.50 … 0.95──▶ hits ──over all images, by score──▶ precision, recall

Source: the COCO detection evaluation (cocodataset.org/#detection-eval): 101 recall points, overlaps 0.50 to 0.95 by
0.05, at most 100 detections per image and label, all sizes. A crowd region may swallow any number of detections, which
then count neither for nor against; its overlap is intersection over the detection's area.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from veilleur_models.nms import areas_of, shared_areas_of

OVERLAPS = tuple(round(0.50 + 0.05 * step, 2) for step in range(10))
RECALLS = np.linspace(0.0, 1.0, 101)
DETECTIONS_PER_IMAGE = 100

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Truth:
    """What one image really shows.

    Attributes:
        boxes: float32, shape ``(n, 4)``, ``x1, y1, x2, y2``.
        labels: int8, shape ``(n,)``.
        crowds: bool, shape ``(n,)``: the box stands for many objects.
    """

    boxes: Floats
    labels: Numbers
    crowds: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Found:
    """What the network said of one image, in the unit of the truth.

    Attributes:
        boxes: float32, shape ``(n, 4)``, ``x1, y1, x2, y2``.
        scores: float32, shape ``(n,)``.
        labels: int8, shape ``(n,)``.
    """

    boxes: Floats
    scores: Floats
    labels: Numbers


@dataclass(frozen=True, slots=True)
class Judgement:
    """How one label, or a group of labels taken as one, was found.

    Attributes:
        objects: How many there were, crowds apart.
        ap: Average precision over ten overlaps, 0..1; None when there were no objects.
        ap50: The same at an overlap of 0.5 alone.
        precision: At the counting threshold and an overlap of 0.5; None when nothing was reported.
        recall: The same; None when there were no objects.
    """

    objects: int
    ap: float | None
    ap50: float | None
    precision: float | None
    recall: float | None


def judge(
    truths: Sequence[Truth], founds: Sequence[Found], labels: frozenset[int], count_threshold: float
) -> Judgement:
    """Judge all images for ``labels`` taken as one.

    Args:
        truths: Per image, what is there.
        founds: Per image, in the same order, what was found, down to a low score.
        labels: Label numbers that are not told apart.
        count_threshold: Score from which a detection counts, for precision and recall.
    """
    matched = [_match(truth, found, labels) for truth, found in zip(truths, founds, strict=True)]
    scores = np.concatenate([part.scores for part in matched]) if matched else np.empty(0, dtype=np.float32)
    objects = sum(part.objects for part in matched)
    order = np.argsort(-scores, kind="mergesort")
    hits = np.concatenate([part.hits for part in matched], axis=1)[:, order]
    ignored = np.concatenate([part.ignored for part in matched], axis=1)[:, order]
    curves = [_average_precision(hits[row], ignored[row], objects) for row in range(len(OVERLAPS))]
    counted = (scores[order] >= count_threshold) & ~ignored[0]
    right = int(np.count_nonzero(hits[0] & counted))
    reported = int(np.count_nonzero(counted))
    return Judgement(
        objects=objects,
        ap=float(np.mean(curves)) if objects else None,
        ap50=curves[0] if objects else None,
        precision=right / reported if reported else None,
        recall=right / objects if objects else None,
    )


def mean_of(judgements: Mapping[int, Judgement]) -> tuple[float | None, float | None]:
    """Mean AP and AP50 over the labels that had objects."""
    aps = [judgement.ap for judgement in judgements.values() if judgement.ap is not None]
    ap50s = [judgement.ap50 for judgement in judgements.values() if judgement.ap50 is not None]
    return (float(np.mean(aps)) if aps else None, float(np.mean(ap50s)) if ap50s else None)


@dataclass(frozen=True, slots=True)
class _Matched:
    """One image: scores ``(n,)`` and, per overlap, which detections hit and which are ignored ``(10, n)``."""

    scores: Floats
    hits: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_]
    objects: int


def _match(truth: Truth, found: Found, labels: frozenset[int]) -> _Matched:
    wanted = np.isin(found.labels, list(labels))
    order = np.argsort(-found.scores[wanted], kind="mergesort")[:DETECTIONS_PER_IMAGE]
    boxes, scores = found.boxes[wanted][order], found.scores[wanted][order]
    there = np.isin(truth.labels, list(labels))
    # Crowds last: a detection goes to a real object whenever one fits.
    crowds_last = np.argsort(truth.crowds[there], kind="stable")
    real, crowds = truth.boxes[there][crowds_last], truth.crowds[there][crowds_last]
    overlaps = _overlaps_of(boxes, real, crowds)
    hits = np.zeros((len(OVERLAPS), scores.size), dtype=bool)
    ignored = np.zeros_like(hits)
    for row, least in enumerate(OVERLAPS):
        free = np.ones(crowds.size, dtype=bool)
        for index in range(scores.size):
            choice = _best_of(overlaps[index], free, crowds, least)
            if choice is None:
                continue
            ignored[row, index] = crowds[choice]
            hits[row, index] = not crowds[choice]
            free[choice] = crowds[choice]
    return _Matched(scores, hits, ignored, objects=int(np.count_nonzero(~crowds)))


def _best_of(overlaps: Floats, free: npt.NDArray[np.bool_], crowds: npt.NDArray[np.bool_], least: float) -> int | None:
    for kind in (~crowds, crowds):
        candidates = np.flatnonzero(kind & free & (overlaps >= least))
        if candidates.size:
            return int(candidates[np.argmax(overlaps[candidates])])
    return None


def _overlaps_of(boxes: Floats, real: Floats, crowds: npt.NDArray[np.bool_]) -> Floats:
    shared = shared_areas_of(boxes, real)
    own = areas_of(boxes)[:, None]
    union = np.where(crowds[None, :], own, own + areas_of(real)[None, :] - shared)
    return (shared / np.maximum(union, 1e-9)).astype(np.float32)


def _average_precision(hits: npt.NDArray[np.bool_], ignored: npt.NDArray[np.bool_], objects: int) -> float:
    """Area under the precision envelope at 101 recalls, detections sorted by score."""
    if objects == 0:
        return 0.0
    kept = hits[~ignored]
    right = np.cumsum(kept)
    recall = right / objects
    precision = right / np.arange(1, kept.size + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, RECALLS, side="left")
    return float(np.mean(np.append(envelope, 0.0)[places]))
