"""The time by which records are too old: the clock's, but never further on than the fleet can believe.

    clock ──▶ believed: at most CATCH_UP times faster than the fleet has run ──▶ what is too old

A clock that is set a year ahead by mistake would make everything a year older, and what is forgotten is gone. A fleet
that was off for a month catches up in a day.
"""

from typing import Final

import sqlalchemy as sa

CATCH_UP: Final = 25
"""Hours by which the calendar may go on in an hour: one that passed, and a day of what was missed."""

calendar: Final = sa.table("calendar", sa.column("one"), sa.column("believed_ms"))


def believed(now_ms: int, before_ms: int | None, ran_ms: int) -> int:
    """Return the time to believe.

    Args:
        now_ms: By the clock.
        before_ms: What was believed last; None: nothing yet.
        ran_ms: How long the fleet has run since.
    """
    return now_ms if before_ms is None else min(now_ms, before_ms + CATCH_UP * ran_ms)


class Calendar:
    """The time believed last, in the database."""

    def __init__(self, desk: sa.Engine) -> None:
        self._desk = desk

    def turn(self, now_ms: int, ran_ms: int) -> int:
        """Believe as much of ``now_ms`` as ``ran_ms`` allows, and keep it.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: The database cannot be written.
        """
        with self._desk.begin() as connection:
            before_ms = connection.execute(sa.select(calendar.c.believed_ms)).scalar()
            at_ms = believed(now_ms, before_ms, ran_ms)
            change = sa.insert(calendar) if before_ms is None else sa.update(calendar)
            connection.execute(change.values(one=1, believed_ms=at_ms))
        return at_ms
