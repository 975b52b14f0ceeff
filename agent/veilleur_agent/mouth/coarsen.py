"""Say old statistics in fewer words: whole buckets of windows become one window of that length, exactly.

    900 s   12  7  9  4 │ 3  nil  0  2        four windows with the same cells withheld ──▶ their sum, or nil
    hour        32      │ 3  nil  0  2        a bucket that is not whole, or withholds here and tells there, stays

What is told is a function of records that may be told already, so nothing withheld can be worked out from it. A cell
withheld in every window of a bucket stays withheld, and its RollUp still fits; beyond an hour, to which RollUps belong,
only windows that withhold nothing are summed. Medians and percentiles have no sum and stay as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from veilleur_contracts.codec import decode_record, encode
from veilleur_contracts.messages import CrossingWindow, Gap, GapReason, ObjectWindow, StayWindow, Withheld

HOUR_S: Final = 3600
COUNT_MAX: Final = 1_000_000
TIME_MAX_S: Final = 10_000_000

Summable = CrossingWindow | StayWindow | ObjectWindow


@dataclass(frozen=True, slots=True)
class Step:
    """One way to be coarser.

    Attributes:
        length_s: Length of the buckets.
        told_only: Whether windows that withhold something are left alone.
    """

    length_s: int
    told_only: bool = False


STEPS: Final = (Step(1800), Step(HOUR_S), Step(86_400, told_only=True))
"""Lengths that divide each other, an hour and a day, so that whoever sums by slots can go on doing so."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the outbox: a record, or the Gap that stands for the numbers ``seq..last``."""

    seq: int
    last: int
    is_gap: bool
    at_running_s: int
    body: bytes


@dataclass(slots=True)
class _Bucket:
    places: list[int] = field(default_factory=list)
    records: list[Summable] = field(default_factory=list)


def coarsened(rows: Sequence[Row], step: Step) -> list[Row]:
    """Return rows that say the same of ``rows``, as far as buckets of ``step`` are whole among them.

    Args:
        rows: Of one stream, in order of number, without a hole.
        step: How much coarser.

    Returns:
        Rows that cover the same numbers: a sum stands in the place of the last of its windows, and the places of the
        others are Gaps of the reason ``COARSENED``.
    """
    buckets: dict[tuple[object, ...], _Bucket] = {}
    for place, row in enumerate(rows):
        record = None if row.is_gap else decode_record(row.body)
        if isinstance(record, Summable) and (key := _key_of(record, step)) is not None:
            bucket = buckets.setdefault(key, _Bucket())
            bucket.places.append(place)
            bucket.records.append(record)
    kept: list[Row | None] = list(rows)
    for bucket in buckets.values():
        whole = _sum_of(bucket.records, step.length_s)
        if whole is None:
            continue
        for place in bucket.places:
            kept[place] = None
        last = rows[bucket.places[-1]]
        kept[bucket.places[-1]] = Row(last.seq, last.last, is_gap=False, at_running_s=last.at_running_s, body=whole)
    return _filled(rows, kept)


def _key_of(record: Summable, step: Step) -> tuple[object, ...] | None:
    """Return what windows must share to be summed; None when this one must be left alone."""
    bucket = record.at_s // step.length_s
    if record.window_s >= step.length_s or record.at_s + record.window_s > (bucket + 1) * step.length_s:
        return None
    counts: tuple[Withheld, ...] = () if isinstance(record, ObjectWindow) else record.counts
    pattern = tuple(count is None for count in counts)
    if step.told_only and any(pattern):
        return None
    place: tuple[int, ...] = (record.line,) if isinstance(record, CrossingWindow) else (record.zone,)
    if isinstance(record, StayWindow):
        place = (record.zone, record.label)
    return (type(record), record.context, place, bucket, record.quality, record.coverage > 0, pattern)


def _sum_of(records: Sequence[Summable], length_s: int) -> bytes | None:
    """Return the encoded sum of ``records``; None when they do not fill their bucket, or it would be out of bounds."""
    at_s = records[0].at_s // length_s * length_s
    for record in records:
        if record.at_s != at_s:
            return None
        at_s += record.window_s
    if at_s % length_s:
        return None
    first = records[0]
    start_s = first.at_s
    observed = sum(record.window_s * record.coverage for record in records)
    shared = {"at_s": start_s, "window_s": length_s, "coverage": observed // length_s}
    if isinstance(first, ObjectWindow):
        lain_s = sum(record.lain_s for record in records if isinstance(record, ObjectWindow))
        return None if lain_s > TIME_MAX_S else _replaced(first, lain_s=lain_s, **shared)
    told = [record.counts for record in records if not isinstance(record, ObjectWindow)]
    counts = tuple(None if cells[0] is None else sum(cell or 0 for cell in cells) for cells in zip(*told, strict=True))
    if any(count is not None and count > COUNT_MAX for count in counts):
        return None
    if isinstance(first, StayWindow):
        over_s = sum(record.over_s for record in records if isinstance(record, StayWindow))
        return None if over_s > TIME_MAX_S else _replaced(first, counts=counts, over_s=over_s, **shared)
    frames = sum(r.window_s * r.coverage * r.fps_x10 for r in records if isinstance(r, CrossingWindow))
    return _replaced(first, counts=counts, fps_x10=frames // observed if observed else 0, **shared)


def _replaced(record: Summable, **changes: object) -> bytes:
    body = encode(msgspec.structs.replace(record, **changes))
    decode_record(body)  # within every bound, or a bug of ours
    return body


def _filled(rows: Sequence[Row], kept: Sequence[Row | None]) -> list[Row]:
    """Put Gaps where rows are gone, and join those that touch and have one reason."""
    filled: list[Row] = []
    for row, now in zip(rows, kept, strict=True):
        one = now or gap_row(row.seq, row.last, GapReason.COARSENED, row.at_running_s)
        if filled and one.is_gap and filled[-1].is_gap and filled[-1].last + 1 == one.seq:
            before, reason = _gap_of(filled[-1]), _gap_of(one).reason
            if before.reason == reason:
                filled[-1] = gap_row(before.first, one.last, GapReason(reason), one.at_running_s)
                continue
        filled.append(one)
    return filled


def gap_row(first: int, last: int, reason: GapReason, at_running_s: int) -> Row:
    """Return the row that says that ``first..last`` will not come."""
    return Row(first, last, is_gap=True, at_running_s=at_running_s, body=encode(Gap(first, last, reason)))


def _gap_of(row: Row) -> Gap:
    record = decode_record(row.body)
    if not isinstance(record, Gap):
        raise TypeError("a row that says it is a Gap holds another record")
    return record
