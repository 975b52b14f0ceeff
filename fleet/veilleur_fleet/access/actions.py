"""What people did, in an order that cannot be changed unseen: each row's digest covers the one before it.

    digest = SHA-256(digest before ‖ canonical JSON [action_no, at_ms, who, capacity, action, what])

An edit, a hole or a change of order breaks the chain at its row. A tail that is cut off does not, so whoever keeps the
last ``number:digest`` elsewhere can have it checked against.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import sqlalchemy as sa

from veilleur_contracts.clock import Clock
from veilleur_fleet.access.capacity import Caller
from veilleur_fleet.access.tables import actions

FIRST: Final = "0" * 64
WHAT_BYTES_MAX: Final = 2000
_READ_AT_ONCE: Final = 1000
_ACTION: Final = re.compile(r"[a-z-]{1,32}\.[a-z-]{1,32}")

What = Mapping[str, str | int | bool | None]


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that somebody did.

    Attributes:
        action_no: Its number, from 1.
        at_ms: When, UTC.
        who: An account, a token, or the user of a command.
        capacity: In what capacity.
        action: What was done, ``noun.past_verb``.
        what: To what, canonical JSON.
        digest: Covers this and everything before, 64 hexadecimal digits.
    """

    action_no: int
    at_ms: int
    who: str
    capacity: str
    action: str
    what: str
    digest: str

    def digest_after(self, before: str) -> str:
        """Return the digest it must have after a row whose digest is ``before``."""
        said = [self.action_no, self.at_ms, self.who, self.capacity, self.action, self.what]
        return hashlib.sha256(before.encode("ascii") + msgspec.json.encode(said)).hexdigest()


@dataclass(frozen=True, slots=True)
class By:
    """Who does something.

    Attributes:
        who: An account, a token, or the user of a command.
        capacity: In what capacity.
    """

    who: str
    capacity: str

    @classmethod
    def caller(cls, caller: Caller) -> "By":
        """Return who asks over HTTP."""
        return cls(caller.name, "open" if caller.capacity is None else str(caller.capacity))


def note(connection: sa.Connection, now_ms: int, by: By, action: str, what: What) -> int:
    """Add an action in the caller's transaction, so that it is noted if and only if it is done; return its number.

    ``connection`` is one of the desk: its transactions follow one another, so the chain has one end.

    Raises:
        ValueError: The action's name is not ``noun.past_verb``, or it says too much.
    """
    said = msgspec.json.encode(what, order="sorted").decode("utf-8")
    if not _ACTION.fullmatch(action) or len(said) > WHAT_BYTES_MAX:
        message = f"{action[:64]!r} cannot be noted as it is said"
        raise ValueError(message)
    query = sa.select(actions.c.action_no, actions.c.digest).order_by(actions.c.action_no.desc()).limit(1)
    last = connection.execute(query).one_or_none()
    number, before = (1, FIRST) if last is None else (last.action_no + 1, last.digest)
    row = Action(number, now_ms, by.who, by.capacity, action, said, "")
    values = (number, now_ms, by.who, by.capacity, action, said, row.digest_after(before))
    columns = [column.name for column in actions.columns]
    connection.execute(sa.insert(actions).values(dict(zip(columns, values, strict=True))))
    return number


class Actions:
    """Notes what is done elsewhere than in the database; what is done in it calls ``note`` in the same transaction."""

    def __init__(self, desk: sa.Engine, clock: Clock) -> None:
        self._desk = desk
        self._clock = clock

    def note(self, by: By, action: str, what: What) -> int:
        """Add an action and return its number; see ``note``."""
        with self._desk.begin() as connection:
            return note(connection, self._clock.now_ms(), by, action, what)


def listed(
    connection: sa.Connection, *, after: int = 0, limit: int, who: str | None = None, newest: bool = False
) -> list[Action]:
    """Return ``limit`` actions after number ``after``, oldest first; with ``newest`` the last ones of them all."""
    query = sa.select(actions).where(actions.c.action_no > after)
    if who is not None:
        query = query.where(actions.c.who == who)
    order = actions.c.action_no.desc() if newest else actions.c.action_no
    rows = [_action_of(row) for row in connection.execute(query.order_by(order).limit(limit))]
    return rows[::-1] if newest else rows


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verifying the chain came to.

    Attributes:
        count: Rows that are as they were written.
        head: Digest of the last of them.
        fault: What is wrong with the row after them; None: there is nothing wrong.
    """

    count: int
    head: str
    fault: str | None = None


def verify(connection: sa.Connection, head: tuple[int, str] | None = None) -> Verdict:
    """Check every row against the one before it, and the row that ``head`` numbers against the digest it gives."""
    verdict = _verified(_every(connection), head)
    if verdict.fault is None and head is not None and head[0] > verdict.count:
        return Verdict(verdict.count, verdict.head, f"row {head[0]} was there and is not: the end was cut off")
    return verdict


def _verified(rows: Iterable[Action], head: tuple[int, str] | None) -> Verdict:
    count, before = 0, FIRST
    for row in rows:
        if row.action_no != count + 1:
            return Verdict(count, before, f"row {count + 1} is missing: row {row.action_no} follows row {count}")
        if row.digest != row.digest_after(before):
            return Verdict(count, before, f"row {row.action_no} was changed, or the order of rows was")
        if head is not None and head[0] == row.action_no and head[1] != row.digest:
            return Verdict(count, before, f"row {row.action_no} is not the one you noted: rows were written again")
        count, before = row.action_no, row.digest
    return Verdict(count, before)


def _every(connection: sa.Connection) -> Iterable[Action]:
    after = 0
    while rows := listed(connection, after=after, limit=_READ_AT_ONCE):
        yield from rows
        after = rows[-1].action_no


def _action_of(row: sa.Row[tuple[object, ...]]) -> Action:
    return Action(row.action_no, row.at_ms, row.who, row.capacity, row.action, row.what, row.digest)
