"""Accounts of people and tokens of programs: made, looked up, ended. What is secret is kept as a digest only.

password ──scrypt──▶ accounts ──login──▶ session ──cookie──▶ Caller (may act)
                        tokens ──Authorization: Bearer──────▶ Caller (may look)
"""

import contextlib
import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from veilleur_contracts.clock import Clock
from veilleur_contracts.ids import is_slug
from veilleur_fleet.access.actions import By, note
from veilleur_fleet.access.capacity import Caller, Capacity, Way
from veilleur_fleet.access.passwords import CHARACTERS_MAX, COSTS, Costs, check_password, digest_of, is_password
from veilleur_fleet.access.tables import accounts, sessions, tokens
from veilleur_fleet.errors import AccessRejectedError

SESSION_MS: Final = 12 * 3_600_000
"""A session ends after a day of work, whatever its person does."""
IDLE_MS: Final = 2 * 3_600_000
SEEN_EVERY_MS: Final = 300_000
"""How often it is written that a session or a token is used: looking must not wear the disk out."""
TOKEN_DAYS_MAX: Final = 730
ACCOUNTS_MAX: Final = 1000
HOLDER_CHARACTERS_MAX: Final = 120
SECRET_CHARACTERS_MAX: Final = 100
STRANGER: Final = By("unknown", "none")
"""Who tries a name that nobody has."""
TOKEN_PREFIX: Final = "veilleur_"  # noqa: S105 - what a leaked token is recognised by
_SECRET_BYTES: Final = 32
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Account:
    """One person who may come in.

    Attributes:
        name: What they type.
        holder: Who that is.
        capacity: In what capacity they come.
        created_ms: Since when.
        disabled_ms: When that ended; None: it has not.
    """

    name: str
    holder: str
    capacity: Capacity
    created_ms: int
    disabled_ms: int | None


@dataclass(frozen=True, slots=True)
class Token:
    """One program that may look.

    Attributes:
        name: What people call it.
        capacity: In what capacity it comes.
        created_ms: Since when.
        expires_ms: Until when.
        revoked_ms: When it was ended before that; None: it was not.
        used_ms: When it was last used, within minutes; None: never.
    """

    name: str
    capacity: Capacity
    created_ms: int
    expires_ms: int
    revoked_ms: int | None
    used_ms: int | None


class Accounts:
    """Every change is one transaction of the desk with the action that tells of it."""

    def __init__(self, readers: sa.Engine, desk: sa.Engine, clock: Clock, costs: Costs = COSTS) -> None:
        self._readers = readers
        self._desk = desk
        self._clock = clock
        self._costs = costs
        self._stranger: str | None = None
        self._known = False

    def is_anybody_known(self) -> bool:
        """Tell whether there has ever been an account or a token; once there was, everybody is asked for one."""
        if not self._known:
            query = sa.select(sa.exists(sa.select(accounts.c.account)) | sa.exists(sa.select(tokens.c.token)))
            with self._readers.connect() as connection:
                self._known = bool(connection.execute(query).scalar_one())
        return self._known

    def add(self, by: By, name: str, holder: str, capacity: Capacity, password: str) -> None:
        """Make an account.

        Raises:
            AccessRejectedError: The name is taken or no name, or the password is easily guessed.
        """
        _check_name(name)
        if not (holder.isprintable() and len(holder.strip()) > 0 and len(holder) <= HOLDER_CHARACTERS_MAX):
            message = f"say who {name} is with --holder, in at most {HOLDER_CHARACTERS_MAX} characters"
            raise AccessRejectedError(message)
        check_password(password, name)
        kept, now_ms = digest_of(password, self._costs), self._clock.now_ms()
        with self._desk.begin() as connection:
            if connection.execute(sa.select(sa.func.count()).select_from(accounts)).scalar_one() >= ACCOUNTS_MAX:
                message = f"there are {ACCOUNTS_MAX} accounts; a fleet has no more"
                raise AccessRejectedError(message)
            if connection.execute(sa.select(accounts.c.account).where(accounts.c.account == name)).first():
                message = f"there is, or was, an account {name}: choose another name, so that actions stay one person's"
                raise AccessRejectedError(message)
            row = {"account": name, "holder": holder, "capacity": str(capacity), "password": kept, "created_ms": now_ms}
            connection.execute(sa.insert(accounts).values(row))
            note(connection, now_ms, by, "account.added", {"account": name, "capacity": str(capacity)})

    def disable(self, by: By, name: str) -> None:
        """End an account and its sessions; its name stays in the actions.

        Raises:
            AccessRejectedError: There is no such account, or it is ended already.
        """
        self._change(by, name, "account.disabled", disabled_ms=self._clock.now_ms())

    def set_password(self, by: By, name: str, password: str) -> None:
        """Give an account another password, and end its sessions.

        Raises:
            AccessRejectedError: There is no such account, or the password is easily guessed.
        """
        check_password(password, name)
        self._change(by, name, "password.changed", password=digest_of(password, self._costs))

    def accounts(self) -> list[Account]:
        """Return every account, by name."""
        with self._readers.connect() as connection:
            rows = connection.execute(sa.select(accounts).order_by(accounts.c.account)).all()
        return [
            Account(row.account, row.holder, Capacity.parse(row.capacity), row.created_ms, row.disabled_ms)
            for row in rows
        ]

    def log_in(self, name: str, password: str) -> tuple[str, Caller] | None:
        """Return the secret of a new session and its caller; None when name and password do not belong together."""
        row = self._proven(name, password)
        if row is None:
            return None
        caller = Caller(row.account, Capacity.parse(row.capacity), Way.SESSION)
        secret, now_ms = secrets.token_urlsafe(_SECRET_BYTES), self._clock.now_ms()
        session = {"digest": _digest(secret), "account": name, "seen_ms": now_ms, "expires_ms": now_ms + SESSION_MS}
        still = sa.select(accounts.c.account).where(
            accounts.c.account == name, accounts.c.password == row.password, accounts.c.disabled_ms.is_(None)
        )
        with self._desk.begin() as connection:
            if connection.execute(still).first() is None:  # it was changed while we looked
                return None
            gone = sa.or_(sessions.c.expires_ms <= now_ms, sessions.c.seen_ms <= now_ms - IDLE_MS)
            connection.execute(sa.delete(sessions).where(gone))
            connection.execute(sa.insert(sessions).values(session))
            note(connection, now_ms, By.caller(caller), "session.begun", {})
        return secret, caller

    def is_password_of(self, name: str, password: str) -> bool:
        """Tell whether ``password`` is that of the account ``name``, which is open."""
        return self._proven(name, password) is not None

    def _proven(self, name: str, password: str) -> sa.Row[tuple[object, ...]] | None:
        """Return the row of ``name`` if ``password`` is its own, and note it otherwise.

        As slow for a name that nobody has as for one that somebody has; such a name is not kept, it may be a password.
        """
        query = sa.select(accounts).where(accounts.c.account == name, accounts.c.disabled_ms.is_(None))
        with self._readers.connect() as connection:
            row = connection.execute(query).one_or_none()
        if self._stranger is None:
            self._stranger = digest_of(secrets.token_hex(_SECRET_BYTES), self._costs)
        good = is_password(password[:CHARACTERS_MAX], self._stranger if row is None else row.password)
        if row is not None and good and len(password) <= CHARACTERS_MAX:
            return row
        by = STRANGER if row is None else By(name, row.capacity)
        with self._desk.begin() as connection:
            note(connection, self._clock.now_ms(), by, "session.refused", {})
        return None

    def log_out(self, secret: str, caller: Caller) -> None:
        """End the session of ``secret``."""
        with self._desk.begin() as connection:
            if connection.execute(sa.delete(sessions).where(sessions.c.digest == _digest(secret))).rowcount:
                note(connection, self._clock.now_ms(), By.caller(caller), "session.ended", {})

    def by_session(self, secret: str) -> Caller | None:
        """Return whose session ``secret`` is; None: nobody's, or it has ended."""
        now_ms = self._clock.now_ms()
        query = (
            sa.select(accounts.c.account, accounts.c.capacity, sessions.c.seen_ms)
            .join_from(sessions, accounts, sessions.c.account == accounts.c.account)
            .where(sessions.c.digest == _digest(secret), sessions.c.expires_ms > now_ms)
            .where(sessions.c.seen_ms > now_ms - IDLE_MS, accounts.c.disabled_ms.is_(None))
        )
        with self._readers.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        if now_ms - row.seen_ms >= SEEN_EVERY_MS:
            seen = sa.update(sessions).where(sessions.c.digest == _digest(secret)).values(seen_ms=now_ms)
            self._note_use(seen)
        return Caller(row.account, Capacity.parse(row.capacity), Way.SESSION)

    def new_token(self, by: By, name: str, capacity: Capacity, days: int) -> str:
        """Make a token and return its secret, which is not kept.

        Raises:
            AccessRejectedError: The name is taken or no name, or it would last too long.
        """
        _check_name(name)
        if not 1 <= days <= TOKEN_DAYS_MAX:
            message = f"a token lasts 1 to {TOKEN_DAYS_MAX} days; make a new one in time"
            raise AccessRejectedError(message)
        secret, now_ms = TOKEN_PREFIX + secrets.token_urlsafe(_SECRET_BYTES), self._clock.now_ms()
        row = {"token": name, "digest": _digest(secret), "capacity": str(capacity), "created_ms": now_ms}
        with self._desk.begin() as connection:
            if connection.execute(sa.select(tokens.c.token).where(tokens.c.token == name)).first():
                message = f"there is, or was, a token {name}: choose another name"
                raise AccessRejectedError(message)
            connection.execute(sa.insert(tokens).values(row | {"expires_ms": now_ms + days * _DAY_MS}))
            note(connection, now_ms, by, "token.made", {"token": name, "capacity": str(capacity), "days": days})
        return secret

    def revoke(self, by: By, name: str) -> None:
        """End a token at once.

        Raises:
            AccessRejectedError: There is no such token, or it is ended already.
        """
        now_ms = self._clock.now_ms()
        with self._desk.begin() as connection:
            query = sa.update(tokens).where(tokens.c.token == name, tokens.c.revoked_ms.is_(None))
            if not connection.execute(query.values(revoked_ms=now_ms)).rowcount:
                message = f"there is no token {name[:32]!r} that is not revoked; `token list` shows them"
                raise AccessRejectedError(message)
            note(connection, now_ms, by, "token.revoked", {"token": name})

    def tokens(self) -> list[Token]:
        """Return every token, by name."""
        with self._readers.connect() as connection:
            rows = connection.execute(sa.select(tokens).order_by(tokens.c.token)).all()
        return [
            Token(r.token, Capacity.parse(r.capacity), r.created_ms, r.expires_ms, r.revoked_ms, r.used_ms)
            for r in rows
        ]

    def by_token(self, secret: str) -> Caller | None:
        """Return whose token ``secret`` is; None: nobody's, or it has ended."""
        now_ms = self._clock.now_ms()
        query = sa.select(tokens).where(
            tokens.c.digest == _digest(secret), tokens.c.revoked_ms.is_(None), tokens.c.expires_ms > now_ms
        )
        with self._readers.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        if now_ms - (row.used_ms or 0) >= SEEN_EVERY_MS:
            self._note_use(sa.update(tokens).where(tokens.c.token == row.token).values(used_ms=now_ms))
        return Caller(f"token:{row.token}", Capacity.parse(row.capacity), Way.TOKEN)

    def _change(self, by: By, name: str, action: str, **values: str | int) -> None:
        """Change an account that is open, end its sessions and note the ``action``.

        Raises:
            AccessRejectedError: There is no such account, or it is ended already.
        """
        with self._desk.begin() as connection:
            query = sa.update(accounts).where(accounts.c.account == name, accounts.c.disabled_ms.is_(None))
            if not connection.execute(query.values(**values)).rowcount:
                message = f"there is no account {name[:32]!r} that is open; `account list` shows them"
                raise AccessRejectedError(message)
            connection.execute(sa.delete(sessions).where(sessions.c.account == name))
            note(connection, self._clock.now_ms(), by, action, {"account": name})

    def _note_use(self, update: sa.Update) -> None:
        """Write that somebody was here; a database that takes nothing now must not keep them from looking."""
        with contextlib.suppress(sa.exc.OperationalError), self._desk.begin() as connection:
            connection.execute(update)


def _check_name(name: str) -> None:
    if not is_slug(name):
        message = f"{name[:32]!r} cannot be a name: use a-z, 0-9 and inner hyphens, at most 32"
        raise AccessRejectedError(message)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret[:SECRET_CHARACTERS_MAX].encode("utf-8", "surrogatepass")).hexdigest()
