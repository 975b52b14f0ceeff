"""The tables of access as SQLAlchemy Core reads them; ``store/schema/sqlite_v3.sql`` makes them."""

from typing import Final

import sqlalchemy as sa


def _table(name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *(sa.column(column) for column in columns))


accounts: Final = _table("accounts", "account", "holder", "capacity", "password", "created_ms", "disabled_ms")
sessions: Final = _table("sessions", "digest", "account", "seen_ms", "expires_ms")
tokens: Final = _table("tokens", "token", "digest", "capacity", "created_ms", "expires_ms", "revoked_ms", "used_ms")
actions: Final = _table("actions", "action_no", "at_ms", "who", "capacity", "action", "what", "digest")

ALL: Final = (accounts, sessions, tokens, actions)
