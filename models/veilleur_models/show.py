"""Draw cards and reports as tables for a person at a terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from veilleur_models.card import Accuracy, Card
from veilleur_models.evaluate import Report, Row


def accuracy_of(card: Card) -> Accuracy | None:
    """The catalogue's measurement at the precision that was built, at float32 when nothing was."""
    precision = card.built.precision if card.built else "FP32"
    return next((accuracy for accuracy in card.accuracy if accuracy.precision == precision), None)


def list_table(cards: Sequence[tuple[Card, bool]]) -> Table:
    """One row per model; the flag says whether it is built."""
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        caption="AP50 as the card gives it; latency on the machine that built it, one thread",
    )
    table.add_column("model", no_wrap=True)
    for title in ("finds", "input", "built as", "AP50", "latency"):
        table.add_column(title, no_wrap=True)
    table.add_column("licence", overflow="fold")
    for card, is_built in cards:
        accuracy = accuracy_of(card)
        latency = card.built.latency if card.built else None
        table.add_row(
            card.name,
            card.purpose,
            f"{card.input.width}x{card.input.height}",
            card.built.precision if card.built and is_built else "not built",
            _share(accuracy.ap50 if accuracy else None),
            f"{latency.median_ms:.1f} ms" if latency else "-",
            card.licence,
        )
    return table


def card_view(card: Card) -> RenderableType:
    """Everything a card says."""
    facts = Table(show_header=False, box=None, title=f"{card.name} {card.version}: {card.title}", title_justify="left")
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    facts.add_row("finds", f"{card.purpose}: {', '.join(channel.label for channel in card.labels)}")
    facts.add_row("identifies anybody", "no (biometric_capable = false)")
    facts.add_row("licence", card.licence)
    facts.add_row("source", f"{card.source.package} {card.source.release} ({card.source.registry})")
    facts.add_row("upstream", card.source.upstream)
    facts.add_row("input", f"{card.input.width}x{card.input.height} {card.input.colour} {card.input.layout}")
    facts.add_row("thresholds", f"count {card.thresholds.count}, redact {card.thresholds.redact}")
    if card.calibration:
        facts.add_row("calibrated on", f"{card.calibration.package} {card.calibration.release}: {card.calibration.how}")
    for accuracy in card.accuracy:
        facts.add_row(f"accuracy {accuracy.precision}", f"AP {accuracy.ap}, AP50 {accuracy.ap50}: {accuracy.how}")
    for latency in card.latency:
        facts.add_row(f"latency {latency.precision}", f"{latency.median_ms} ms, {latency.machine}")
    if card.built:
        facts.add_row("built as", f"{card.built.precision}, because {card.built.why}; OpenVINO {card.built.openvino}")
        for name, proof in card.built.files.items():
            facts.add_row(name, f"{proof.size_bytes} bytes, SHA-256 {proof.sha256}")
    for limit in card.limits:
        facts.add_row("limit", limit)
    return facts


def report_view(report: Report) -> RenderableType:
    """The tables of ``evaluate``."""
    title = f"{report.model} {report.version} {report.precision} on {report.pictures} pictures"
    labels = _rows_table(title, report.labels)
    merged = _rows_table("labels that are confused with each other, taken as one", report.groups)
    labels.caption = (
        f"mean over the labels that occur: AP {_share(report.ap)}, AP50 {_share(report.ap50)}; "
        f"precision and recall at score {report.count_threshold} and IoU 0.5"
    )
    return Group(labels, merged)


def _rows_table(title: str, rows: dict[str, Row]) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("label")
    for column in ("objects", "AP", "AP50", "precision", "recall"):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        figures = (_share(value) for value in (row.ap, row.ap50, row.precision, row.recall))
        table.add_row(name, str(row.objects), *figures)
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
