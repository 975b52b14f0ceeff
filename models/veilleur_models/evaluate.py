"""Measure a built model on annotated pictures: average precision, precision and recall, per label and merged.

pictures ─▶ network ─▶ decoder ─▶ found ┐
annotations ─▶ truth ───────────────────┴─▶ judge ─▶ Report (a table or JSON)
"""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from veilleur_contracts.messages import Label
from veilleur_models.average_precision import Found, Judgement, Truth, judge, mean_of
from veilleur_models.card import Card
from veilleur_models.decode import DecodedBoxes, Letterbox, decoder_of
from veilleur_models.errors import ModelRejectedError
from veilleur_models.ground_truth import AnnotatedPicture, picture_of
from veilleur_models.infer import Network, blob_of
from veilleur_models.package import ModelPackage
from veilleur_models.quiet import silence_telemetry

LOWEST_SCORE = 0.03
"""Average precision looks at the whole curve; what scores less adds nothing to it."""

GROUPS = (
    ("two-wheelers", (Label.BICYCLE, Label.MOTORCYCLE)),
    ("motor vehicles", (Label.CAR, Label.BUS, Label.TRUCK)),
    ("road users", tuple(Label)),
)
"""Labels that are confused with each other, judged as one."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report; None where there was nothing to measure."""

    objects: int
    ap: float | None
    ap50: float | None
    precision: float | None
    recall: float | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``veilleur-models evaluate`` prints; ``ap`` and ``ap50`` are means over the labels that had objects."""

    model: str
    version: str
    precision: str
    pictures: int
    count_threshold: float
    ap: float | None
    ap50: float | None
    labels: dict[str, Row]
    groups: dict[str, Row]


def evaluate(package: ModelPackage, pictures: Sequence[AnnotatedPicture], advance: Callable[[], None]) -> Report:
    """Run ``package`` over ``pictures``.

    Args:
        package: A road-user model.
        pictures: What to run it on.
        advance: Called after each picture.

    Raises:
        ModelRejectedError: The model does not find road users.
        GroundTruthError: A picture cannot be read.
    """
    card = package.card
    if card.purpose != "road-users" or card.built is None:
        raise ModelRejectedError(f"{card.name} finds {card.purpose}, and only road users can be judged against COCO")
    silence_telemetry()
    import openvino  # noqa: PLC0415 - only once telemetry is blocked

    network = Network(openvino.Core().read_model(package.xml, package.weights), card)
    decoder = decoder_of(card)
    founds: list[Found] = []
    for picture in pictures:
        pixels = picture_of(picture.path)
        blob, fit = blob_of(pixels, card)
        decoded = decoder.decode(network.infer(blob), LOWEST_SCORE)
        founds.append(_found_of(decoded, fit, pixels.shape[1], pixels.shape[0]))
        advance()
    return report_of(card, [picture.truth for picture in pictures], founds)


def report_of(card: Card, truths: Sequence[Truth], founds: Sequence[Found]) -> Report:
    """Judge what was found, label by label and merged."""
    threshold = card.thresholds.count
    single: dict[int, Judgement] = {label: judge(truths, founds, frozenset({label}), threshold) for label in Label}
    merged = {name: judge(truths, founds, frozenset(labels), threshold) for name, labels in GROUPS}
    ap, ap50 = mean_of(single)
    return Report(
        model=card.name,
        version=card.version,
        precision=card.built.precision if card.built else "FP32",
        pictures=len(truths),
        count_threshold=threshold,
        ap=_rounded(ap),
        ap50=_rounded(ap50),
        labels={Label(number).name.lower(): _row_of(judgement) for number, judgement in single.items()},
        groups={name: _row_of(judgement) for name, judgement in merged.items()},
    )


def _found_of(decoded: DecodedBoxes, fit: Letterbox, width: int, height: int) -> Found:
    sides = np.array((width, height, width, height), dtype=np.float32)
    return Found(boxes=fit.to_fractions(decoded.boxes) * sides, scores=decoded.scores, labels=decoded.labels)


def _row_of(judgement: Judgement) -> Row:
    return Row(
        objects=judgement.objects,
        ap=_rounded(judgement.ap),
        ap50=_rounded(judgement.ap50),
        precision=_rounded(judgement.precision),
        recall=_rounded(judgement.recall),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
