"""Who may come in: passwords, accounts, sessions and tokens; and the chain of what was done."""

import sqlite3
import threading
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from fleet_builders import entrance_of
from veilleur_fleet.access import accounts as accounts_module
from veilleur_fleet.access import actions, tables
from veilleur_fleet.access.accounts import IDLE_MS, SEEN_EVERY_MS, SESSION_MS
from veilleur_fleet.access.actions import Actions, By, Verdict, verify
from veilleur_fleet.access.attempts import KEPT_MAX, WHILE_S, Attempts
from veilleur_fleet.access.capacity import EVERYONE, PASSER_BY, Caller, Capacity, Role, Way
from veilleur_fleet.access.passwords import COSTS, Costs, check_password, digest_of, is_password
from veilleur_fleet.errors import AccessRejectedError
from veilleur_fleet.web.login import AT_ONCE, BUSY, WAITING_MAX, Login

ROOT = By("root", "server")
OPERATOR = Capacity(Role.OPERATOR)
PASSWORD = "trois petits chats"  # noqa: S105 - of nobody


@pytest.fixture
def accounts(database, clock):
    return entrance_of(database, clock).accounts


@pytest.fixture
def done(database):
    def told():
        with database.readers.connect() as connection:
            return [(one.who, one.action, one.what) for one in actions.listed(connection, limit=100)]

    return told


@pytest.fixture
def judged(database):
    def judge(head=None) -> Verdict:
        with database.readers.connect() as connection:
            return verify(connection, head)

    return judge


def test_the_tables_of_access_are_the_tables_that_are_made(database) -> None:
    for table in tables.ALL:
        made = [row[1] for row in database.writer.execute(f"PRAGMA table_info({table.name})")]
        assert [column.name for column in table.columns] == made


@pytest.mark.parametrize(
    ("text", "capacity"),
    [
        ("operator", Capacity(Role.OPERATOR)),
        ("dpo-ville", Capacity(Role.DPO_VILLE)),
        ("dpo-agglo", Capacity(Role.DPO_AGGLO)),
        ("consumer-municipal-police", Capacity(Role.CONSUMER, "municipal-police")),
    ],
)
def test_a_role_is_read_as_it_is_written(text, capacity) -> None:
    assert Capacity.parse(text) == capacity
    assert str(capacity) == text


@pytest.mark.parametrize("text", ["", "consumer", "consumer-", "consumer-Police", "root", "OPERATOR", "consumer-a/b"])
def test_what_is_no_role_is_refused_with_those_there_are(text) -> None:
    with pytest.raises(AccessRejectedError, match="consumer-<service>"):
        Capacity.parse(text)


def test_a_passer_by_sees_everything_and_signs_nothing() -> None:
    assert PASSER_BY.has(*EVERYONE)
    assert PASSER_BY.service is None
    assert not PASSER_BY.is_person
    program = Caller("token:x", OPERATOR, Way.TOKEN)
    assert program.has(Role.OPERATOR)
    assert not program.has(Role.DPO_VILLE)
    assert not program.is_person


def test_a_password_is_known_again_and_no_other_is() -> None:
    kept = digest_of(PASSWORD)
    assert kept.startswith(f"scrypt${COSTS.log_n}${COSTS.r}${COSTS.p}$")
    assert PASSWORD not in kept
    assert is_password(PASSWORD, kept)
    assert not is_password(PASSWORD + " ", kept)
    assert digest_of(PASSWORD, Costs(4, 8, 1)) != digest_of(PASSWORD, Costs(4, 8, 1))
    for spoilt in ("", "scrypt$4$8$1$x", "md5$4$8$1$QQ==$QQ==", "scrypt$a$8$1$QQ==$QQ==", "scrypt$4$8$1$*$QQ=="):
        assert not is_password(PASSWORD, spoilt)


@pytest.mark.parametrize("password", ["", "short", "jmartin" * 3, "x" * 257])
def test_a_password_that_is_easily_guessed_is_refused(password) -> None:
    with pytest.raises(AccessRejectedError, match="password"):
        check_password(password, "jmartin")


def test_a_person_logs_in_is_known_and_logs_out(accounts, done) -> None:
    accounts.add(ROOT, "jmartin", "Jeanne Martin", OPERATOR, PASSWORD)
    assert accounts.log_in("jmartin", "another password") is None
    assert accounts.log_in("nobody", PASSWORD) is None
    assert accounts.log_in("jmartin", PASSWORD + "x" * 300) is None
    secret, caller = accounts.log_in("jmartin", PASSWORD)
    assert accounts.by_session(secret) == caller == Caller("jmartin", OPERATOR, Way.SESSION)
    assert accounts.by_session(secret[:-1]) is None
    accounts.log_out(secret, caller)
    accounts.log_out(secret, caller)
    assert accounts.by_session(secret) is None
    told = [(who, action) for who, action, _ in done()]
    assert told == [
        ("root", "account.added"),
        ("jmartin", "session.refused"),
        ("unknown", "session.refused"),
        ("jmartin", "session.refused"),
        ("jmartin", "session.begun"),
        ("jmartin", "session.ended"),
    ]


def test_neither_password_nor_session_nor_token_can_be_read_from_the_database(accounts, database) -> None:
    accounts.add(ROOT, "jmartin", "Jeanne Martin", OPERATOR, PASSWORD)
    secret, _ = accounts.log_in("jmartin", PASSWORD)
    token = accounts.new_token(ROOT, "grafana", OPERATOR, 30)
    everything = "".join(database.writer.iterdump())
    for hidden in (PASSWORD, secret, token, token.removeprefix("veilleur_")):
        assert hidden not in everything


@pytest.mark.parametrize(("gone_ms", "known"), [(IDLE_MS - 1, True), (IDLE_MS, False)])
def test_a_session_that_nobody_uses_ends(accounts, clock, gone_ms, known) -> None:
    accounts.add(ROOT, "jmartin", "Jeanne Martin", OPERATOR, PASSWORD)
    secret, _ = accounts.log_in("jmartin", PASSWORD)
    clock.move(gone_ms / 1000)
    assert (accounts.by_session(secret) is not None) is known


def test_a_session_ends_after_a_day_of_work_however_it_is_used(accounts, clock, ask) -> None:
    accounts.add(ROOT, "jmartin", "Jeanne Martin", OPERATOR, PASSWORD)
    secret, _ = accounts.log_in("jmartin", PASSWORD)
    for _ in range(SESSION_MS // SEEN_EVERY_MS - 1):
        clock.move(SEEN_EVERY_MS / 1000)
        assert accounts.by_session(secret) is not None
    clock.move(SEEN_EVERY_MS / 1000)
    assert accounts.by_session(secret) is None
    accounts.log_in("jmartin", PASSWORD)
    assert ask("SELECT count(*) FROM sessions") == [(1,)], "sessions that ended are cleared away"


def test_a_disabled_account_and_one_with_another_password_are_logged_out(accounts) -> None:
    for name in ("jmartin", "pdurand"):
        accounts.add(ROOT, name, "somebody", OPERATOR, PASSWORD)
    first, _ = accounts.log_in("jmartin", PASSWORD)
    second, _ = accounts.log_in("pdurand", PASSWORD)
    accounts.disable(ROOT, "jmartin")
    accounts.set_password(ROOT, "pdurand", "quatre petits chats")
    assert accounts.by_session(first) is accounts.by_session(second) is None
    assert accounts.log_in("jmartin", PASSWORD) is None
    assert accounts.log_in("pdurand", PASSWORD) is None
    assert accounts.log_in("pdurand", "quatre petits chats") is not None
    assert [(one.name, one.disabled_ms is None) for one in accounts.accounts()] == [
        ("jmartin", False),
        ("pdurand", True),
    ]


def test_a_password_that_is_changed_while_somebody_logs_in_with_the_old_one_lets_nobody_in(
    accounts, monkeypatch, ask
) -> None:
    accounts.add(ROOT, "jmartin", "Jeanne Martin", OPERATOR, PASSWORD)

    def change_meanwhile(password, kept) -> bool:
        accounts.set_password(ROOT, "jmartin", "quatre petits chats")
        return is_password(password, kept)

    monkeypatch.setattr(accounts_module, "is_password", change_meanwhile)
    assert accounts.log_in("jmartin", PASSWORD) is None
    assert ask("SELECT count(*) FROM sessions") == [(0,)]


def test_a_name_is_never_given_to_another_person(accounts) -> None:
    accounts.add(ROOT, "jmartin", "Jeanne Martin", OPERATOR, PASSWORD)
    accounts.disable(ROOT, "jmartin")
    with pytest.raises(AccessRejectedError, match="choose another name"):
        accounts.add(ROOT, "jmartin", "Jean Martin", OPERATOR, PASSWORD)
    for act in (lambda: accounts.disable(ROOT, "jmartin"), lambda: accounts.set_password(ROOT, "jmartin", PASSWORD)):
        with pytest.raises(AccessRejectedError, match="account list"):
            act()


@pytest.mark.parametrize(
    ("name", "holder"), [("J Martin", "J"), ("", "J"), ("a" * 33, "J"), ("jm", ""), ("jm", "a\nb"), ("jm", "x" * 121)]
)
def test_a_name_or_holder_that_cannot_stand_in_a_list_is_refused(accounts, name, holder) -> None:
    with pytest.raises(AccessRejectedError):
        accounts.add(ROOT, name, holder, OPERATOR, PASSWORD)


def test_a_token_is_known_until_it_is_revoked_or_expires(accounts, clock) -> None:
    police = Capacity(Role.CONSUMER, "municipal-police")
    secret, other = (accounts.new_token(ROOT, name, police, 30) for name in ("one", "two"))
    assert secret != other
    assert accounts.by_token(secret) == Caller("token:one", police, Way.TOKEN)
    assert accounts.by_token("veilleur_" + "x" * 43) is None
    accounts.revoke(ROOT, "one")
    assert accounts.by_token(secret) is None
    with pytest.raises(AccessRejectedError, match="not revoked"):
        accounts.revoke(ROOT, "one")
    clock.move(30 * 86_400)
    assert accounts.by_token(other) is None
    one, two = accounts.tokens()
    assert (one.used_ms is None, one.revoked_ms is None, two.used_ms) == (False, False, None)
    with pytest.raises(AccessRejectedError, match="another name"):
        accounts.new_token(ROOT, "one", police, 30)
    for days in (0, 731):
        with pytest.raises(AccessRejectedError, match="730"):
            accounts.new_token(ROOT, "three", police, days)


def test_looking_goes_on_while_the_database_takes_nothing(accounts, clock, database) -> None:
    secret = accounts.new_token(ROOT, "one", OPERATOR, 30)
    clock.move(SEEN_EVERY_MS / 1000)
    sa.event.listen(database.desk, "begin", _refuse)
    assert accounts.by_token(secret) is not None


def _refuse(_connection) -> None:
    raise sa.exc.OperationalError("BEGIN", {}, sqlite3.OperationalError("database is locked"))


def test_everybody_is_asked_from_the_first_account_or_token_on(accounts, database, clock) -> None:
    assert not accounts.is_anybody_known()
    accounts.new_token(ROOT, "one", OPERATOR, 30)
    assert accounts.is_anybody_known()
    assert entrance_of(database, clock).accounts.is_anybody_known()


def test_attempts_are_counted_for_a_while_and_their_number_is_bounded(clock) -> None:
    attempts = Attempts(clock)
    for _ in range(3):
        assert attempts.wait_s("a", 3) == 0
        attempts.note_failure("a")
    assert attempts.wait_s("a", 3) == WHILE_S
    assert attempts.wait_s("a", 4) == attempts.wait_s("b", 3) == 0
    clock.move(WHILE_S)
    assert attempts.wait_s("a", 3) == 0
    attempts.note_failure("a")
    assert attempts.wait_s("a", 1) == WHILE_S
    for number in range(KEPT_MAX):
        attempts.note_failure(str(number))
    assert attempts.wait_s("a", 1) == 0
    attempts.forget("7")
    assert attempts.wait_s("7", 1) == 0


@pytest.fixture
def chain(database, clock):
    noting = Actions(database.desk, clock)
    for number in range(5):
        assert noting.note(ROOT, "route.changed", {"number": number}) == number + 1
    return noting


@pytest.mark.usefixtures("chain")
def test_a_chain_that_nobody_touched_is_whole(judged) -> None:
    verdict = judged()
    assert (verdict.count, verdict.fault) == (5, None)
    assert judged((5, verdict.head)).fault is None


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize(
    ("sql", "whole", "fault"),
    [
        pytest.param("UPDATE actions SET who = 'x' WHERE action_no = 3", 2, "row 3 was changed", id="edited"),
        pytest.param("UPDATE actions SET at_ms = at_ms + 1 WHERE action_no = 1", 0, "row 1 was changed", id="redated"),
        pytest.param("DELETE FROM actions WHERE action_no = 2", 1, "row 2 is missing", id="dropped"),
        pytest.param("DELETE FROM actions WHERE action_no = 5", 4, "the end was cut off", id="cut"),
        pytest.param(
            "UPDATE actions SET action_no = CASE action_no WHEN 2 THEN 30 WHEN 3 THEN 2 ELSE action_no END"
            " WHERE action_no IN (2, 3)",
            1,
            "row 2 was changed",
            id="reordered",
        ),
    ],
)
def test_what_is_done_to_the_chain_is_found_where_it_was_done(judged, database, sql, whole, fault) -> None:
    head = judged()
    database.writer.execute(sql)
    verdict = judged((5, head.head))
    assert verdict.count == whole
    assert fault in verdict.fault


@pytest.mark.usefixtures("chain")
def test_rows_written_again_from_the_start_are_found_by_a_noted_head(judged, database, clock) -> None:
    noted = judged()
    database.writer.execute("DELETE FROM actions")
    for number in range(6):
        Actions(database.desk, clock).note(By("x", "server"), "route.changed", {"number": number})
    assert judged().fault is None
    assert "written again" in judged((5, noted.head)).fault


def test_what_cannot_be_said_in_a_row_is_not_noted(database, clock, judged) -> None:
    noting = Actions(database.desk, clock)
    for action, what in (("Account added", {}), ("account.added", {"text": "x" * 3000})):
        with pytest.raises(ValueError, match="cannot be noted"):
            noting.note(ROOT, action, what)
    assert judged().count == 0


def test_two_who_note_at_once_make_one_chain(database, clock, judged) -> None:
    noting = Actions(database.desk, clock)
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda number: noting.note(ROOT, "route.changed", {"n": number}), range(40)))
    assert sorted(numbers) == list(range(1, 41))
    assert judged().fault is None


def test_failures_of_many_at_once_are_all_counted(clock) -> None:
    attempts = Attempts(clock)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: attempts.note_failure("a"), range(2000)))
    assert attempts.wait_s("a", 2000) == WHILE_S


def test_who_waits_for_a_password_to_be_tried_does_not_keep_every_thread(accounts, clock, monkeypatch) -> None:
    accounts.add(ROOT, "jmartin", "Jeanne Martin", OPERATOR, PASSWORD)
    goes_on, login = threading.Event(), Login(accounts, clock)

    def wait(*_) -> bool:
        return goes_on.wait(20)

    monkeypatch.setattr(accounts_module, "is_password", wait)
    many = AT_ONCE + WAITING_MAX
    with ThreadPoolExecutor(many + 1) as pool:
        trials = [pool.submit(login.begin, f"192.0.2.{number}", "jmartin", PASSWORD) for number in range(many + 1)]
        first = next(futures.as_completed(trials, 20))
        assert first.result() == BUSY
        goes_on.set()
    assert [trial.result() == BUSY for trial in trials].count(True) == 1
