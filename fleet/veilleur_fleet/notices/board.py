"""Keep what was confirmed; confirming and withdrawing are noted with who did it, in the same transaction."""

import secrets
from dataclasses import dataclass
from typing import Final

import msgspec
import sqlalchemy as sa

from veilleur_contracts.clock import Clock
from veilleur_fleet.access.actions import By, note
from veilleur_fleet.notices.rules import Content, NoticeRejectedError, check_times

IN_FORCE_MAX: Final = 500
_COLUMNS: Final = ("notice", "content", "starts_ms", "ends_ms", "confirmed_ms", "confirmed_by")
notices: Final = sa.table("notices", *(sa.column(name) for name in (*_COLUMNS, "withdrawn_ms", "withdrawn_by")))


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice.

    Attributes:
        name: What it is called, for as long as it is told.
        content: What it says.
        starts_ms: From when, UTC.
        ends_ms: Until when.
        confirmed_ms: When somebody confirmed it.
        confirmed_by: Who; never in a feed.
        withdrawn_ms: When it was taken back; None: it was not.
    """

    name: str
    content: Content
    starts_ms: int
    ends_ms: int
    confirmed_ms: int
    confirmed_by: str
    withdrawn_ms: int | None


class Board:
    """The notices in the database."""

    def __init__(self, readers: sa.Engine, desk: sa.Engine, clock: Clock) -> None:
        self._readers = readers
        self._desk = desk
        self._clock = clock

    def confirm(self, by: By, content: Content, starts_ms: int | None, ends_ms: int) -> str:
        """Put a notice up, from now on where ``starts_ms`` is None, and return its name.

        Raises:
            NoticeRejectedError: It does not end, or there are too many already.
        """
        now_ms = self._clock.now_ms()
        starts_ms = now_ms if starts_ms is None else starts_ms
        check_times(starts_ms, ends_ms, now_ms)
        name = secrets.token_hex(6)
        row = (name, msgspec.json.encode(content).decode("utf-8"), starts_ms, ends_ms, now_ms, by.who)
        with self._desk.begin() as connection:
            standing = sa.select(sa.func.count()).select_from(notices).where(*_standing(now_ms))
            if connection.execute(standing).scalar_one() >= IN_FORCE_MAX:
                raise NoticeRejectedError(f"there are {IN_FORCE_MAX} notices up already: withdraw some")
            connection.execute(sa.insert(notices).values(dict(zip(_COLUMNS, row, strict=True))))
            what = {"notice": name, "subtype": content.subtype.value, "street": content.street}
            note(connection, now_ms, by, "notice.confirmed", {**what, "ends_ms": ends_ms})
        return name

    def withdraw(self, by: By, name: str) -> None:
        """Take a notice back at once.

        Raises:
            NoticeRejectedError: There is no such notice that still stands.
        """
        now_ms = self._clock.now_ms()
        with self._desk.begin() as connection:
            query = sa.update(notices).where(notices.c.notice == name, *_standing(now_ms))
            if not connection.execute(query.values(withdrawn_ms=now_ms, withdrawn_by=by.who)).rowcount:
                raise NoticeRejectedError(f"no notice {name[:32]!r} stands; `notice list` shows those that do")
            note(connection, now_ms, by, "notice.withdrawn", {"notice": name})

    def standing(self) -> list[Notice]:
        """Return what is up now or will be, the first to end first."""
        query = sa.select(notices).where(*_standing(self._clock.now_ms())).order_by(notices.c.ends_ms, notices.c.notice)
        with self._readers.connect() as connection:
            return [_notice_of(row) for row in connection.execute(query.limit(IN_FORCE_MAX))]


def _standing(now_ms: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (notices.c.ends_ms > now_ms, notices.c.withdrawn_ms.is_(None))


def _notice_of(row: sa.Row[tuple[object, ...]]) -> Notice:
    content = msgspec.json.decode(row.content, type=Content)
    times = (row.starts_ms, row.ends_ms, row.confirmed_ms)
    return Notice(row.notice, content, *times, row.confirmed_by, row.withdrawn_ms)
