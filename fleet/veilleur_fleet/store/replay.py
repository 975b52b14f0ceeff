"""Judge quarantine again after an upgrade: what today's registry can read goes into the store, once.

quarantine ──readable now?──no──▶ stays as it is
                └──yes──▶ records, at a new cursor · its stream's books · out of quarantine          one transaction

A record's number was held, and acknowledged, when it was refused, so nothing but its books moves. A whole message was
never acknowledged: its box may have said it again since, and then its records are known by their numbers.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from veilleur_contracts.messages import Gap, class_of_stream
from veilleur_contracts.topics import TopicRejectedError, Up, read_up_topic
from veilleur_fleet.judge import Entry, EnvelopeRejectedError, Refusal, judge, judge_record
from veilleur_fleet.store.connection import Cursor

ROWS_PER_COMMIT: Final = 500


class Kept(NamedTuple):
    """One row of quarantine.

    Attributes:
        quarantine_no: Its key; rises with time.
        box: Whose it is; None when no box could be told.
        topic: Where it came from.
        stream: Its stream; None for a whole message.
        seq: Its number there.
        received_ms: When it came first.
        times: How often it came.
        raw: As it came.
    """

    quarantine_no: int
    box: str | None
    topic: str
    stream: int | None
    seq: int | None
    received_ms: int
    times: int
    raw: bytes


@dataclass(slots=True)
class Replayed:
    """What judging quarantine again came to.

    Attributes:
        judged: Rows looked at.
        accepted: Rows that left quarantine.
        stored: Records that got a cursor.
        last: Key of the last row looked at.
    """

    judged: int = 0
    accepted: int = 0
    stored: int = 0
    last: int = 0


def kept_after(cursor: Cursor, quarantine_no: int) -> list[Kept]:
    """Return the next rows after ``quarantine_no``, ``ROWS_PER_COMMIT`` at most."""
    rows = cursor.execute(
        "SELECT quarantine_no, box, topic, stream, seq, received_ms, times, raw FROM quarantine"
        " LEFT JOIN boxes USING (box_no) WHERE quarantine_no > ? ORDER BY quarantine_no LIMIT ?",
        (quarantine_no, ROWS_PER_COMMIT),
    )
    return [Kept(*row) for row in rows.fetchall()]


def entry_of(kept: Kept) -> Entry | None:
    """Return a refused record as it is judged today; None when it is refused still.

    A Gap stays where it is: its own number is all that was held of it, so it can no longer speak for others.
    """
    if kept.stream is None or kept.seq is None:
        return None
    record = judge_record(kept.raw, class_of_stream(kept.stream))
    return None if isinstance(record, Refusal | Gap) else (kept.seq, kept.raw, record)


def is_readable(kept: Kept) -> bool:
    """Tell whether a whole message that was refused can be judged record by record today."""
    try:
        topic = read_up_topic(kept.topic)
        if topic.channel in {Up.PRIVACY, Up.AUDIT}:
            return True
        return topic.channel is not Up.STATUS and judge(kept.raw, topic.channel).cut is None
    except (TopicRejectedError, EnvelopeRejectedError):
        return False
