"""Who is let in over HTTP: who is let in where, how people log in, and what another site cannot do."""

import asyncio
import contextlib
import re

import pytest
import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute, iter_route_contexts

from house_builders import PASSWORD, House, form_token_in, log_in
from veilleur_fleet.access import porter
from veilleur_fleet.access.attempts import WHILE_S
from veilleur_fleet.access.capacity import STAFF, Access, Role
from veilleur_fleet.access.porter import BODY_BYTES_MAX, FORM_COOKIE, SESSION_COOKIE, local_path, require
from veilleur_fleet.app import check_access
from veilleur_fleet.errors import SettingsRejectedError
from veilleur_fleet.settings import ListenAddress
from veilleur_fleet.web.login import AT_ONCE, PER_ADDRESS, PER_PAIR

WRONG = " ".join(["wrong"] * 3)
PUBLIC = {"/login", "/healthz"}
NEEDS_SOMETHING = re.compile(r"[{][^}]*[}]")


@pytest.fixture
def house(database, clock):
    return House(database, clock)


@pytest.fixture
def closed(house):
    house.add("jmartin", "operator")
    return house


def routes_of(app):
    return [route for route in iter_route_contexts(app.routes) if isinstance(route.original_route, APIRoute)]


def roles_of(route) -> set | None:
    """Return who may enter ``route``; None when it does not say."""
    waiting, found = [route.dependant], None
    while waiting:
        one = waiting.pop()
        roles = getattr(one.call, "__dict__", {}).get("roles")
        found = set(roles) if roles is not None else found
        waiting += one.dependencies
    return found


def test_every_route_says_who_may_enter(house) -> None:
    silent = {route.path for route in routes_of(house.app) if roles_of(route) is None}
    assert silent == PUBLIC
    assert len(routes_of(house.app)) > len(PUBLIC)


@pytest.mark.parametrize("role", ["operator", "dpo-ville", "consumer-x"])
async def test_whatever_changes_something_checks_its_form(house, role) -> None:
    house.add("jmartin", role)
    acting = [route.path for route in routes_of(house.app) if route.methods - {"GET", "HEAD"}]
    assert len(acting) > 4
    async with house.browser() as web:
        await log_in(web)
        for path in acting:
            for form in ({}, {"form_token": "0" * 64}):
                assert (await web.post(NEEDS_SOMETHING.sub("x", path), data=form)).status_code == 403, path


async def test_without_an_account_the_page_is_open_and_says_so(house) -> None:
    async with house.browser() as web:
        page = await web.get("/?lang=en")
        assert page.status_code == 200
        assert "Nobody is asked who they are" in page.text
        assert (await web.get("/v1/counts")).status_code == 200
        assert (await web.get("/metrics")).status_code == 200


async def test_from_the_first_account_on_nothing_is_told_to_strangers(house) -> None:
    async with house.browser() as web:
        assert (await web.get("/?lang=en")).status_code == 200
        house.add("jmartin", "operator")
        for route in [*routes_of(house.app), None]:
            path = "/v1/openapi.json" if route is None else NEEDS_SOMETHING.sub("x", route.path)
            if path in PUBLIC:
                assert (await web.get(path)).status_code == 200
                continue
            for method in ("GET", "POST"):
                answer = await web.request(method, path)
                assert answer.status_code in {303, 401}, (method, path)
                assert "gare" not in answer.text
        assert (await web.get("/nothing-here")).headers["location"] == "/login?next=/nothing-here"
        assert (await web.get("/static/page.css")).status_code == 200


async def test_people_are_sent_to_the_login_and_programs_are_told_what_to_send(closed) -> None:
    async with closed.browser() as web:
        page = await web.get("/?period=1h&lang=en")
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=/%3Fperiod%3D1h%26lang%3Den&lang=en")
        program = await web.get("/v1/counts")
        assert program.status_code == 401
        assert program.headers["www-authenticate"].startswith("Bearer")
        assert "veilleur-fleet token new" in program.json()["error"]
        for wrong in ("Bearer", "Bearer x", "Basic eDp5", f"Bearer {'x' * 5000}"):
            assert (await web.get("/v1/counts", headers={"authorization": wrong})).status_code == 401


@pytest.mark.parametrize(
    ("asked", "following"), [(f"/docs?x={'y' * 400}", "/docs"), (f"/{'y' * 400}", "/"), ("/docs?x=y", "/docs%3Fx%3Dy")]
)
async def test_whoever_asks_at_length_still_gets_to_the_login(closed, asked, following) -> None:
    async with closed.browser() as web:
        to = (await web.get(asked)).headers["location"]
        assert to == f"/login?next={following}"
        assert (await web.get(to)).status_code == 200


async def test_each_page_is_there_in_the_other_language_too(closed) -> None:
    async with closed.browser() as web:
        assert 'href="/login?lang=en"' in (await web.get("/login?lang=fr")).text
        await log_in(web)
        for path in ("/docs", "/services", "/notices", "/account"):
            assert f'href="{path}?lang=fr"' in (await web.get(f"{path}?lang=en")).text, path
        assert 'href="/?lang=fr' in (await web.get("/?lang=en")).text


async def test_a_person_logs_in_where_they_wanted_to_go_and_logs_out(closed) -> None:
    async with closed.browser() as web:
        answer = await log_in(web, following="/docs?lang=en")
        assert (answer.status_code, answer.headers["location"]) == (303, "/docs?lang=en")
        (cookie,) = [one for one in answer.headers.get_list("set-cookie") if one.startswith(SESSION_COOKIE)]
        assert {"HttpOnly", "Path=/", "SameSite=strict"} <= {part.strip() for part in cookie.split(";")}
        assert "Secure" not in cookie, "a browser would not send it back over http"
        page = await web.get("/?lang=en")
        assert "jmartin" in page.text
        assert "Nobody is asked" not in page.text
        out = await web.post("/logout", data={"form_token": form_token_in(page.text)})
        assert (out.status_code, out.headers["location"]) == (303, "/login")
        assert (await web.get("/")).status_code == 303


async def test_behind_https_the_cookie_never_travels_in_the_clear(closed) -> None:
    async with closed.browser("https") as web:
        page = await web.get("/login")
        answer = await log_in(web)
        for cookie in page.headers.get_list("set-cookie") + answer.headers.get_list("set-cookie"):
            assert "Secure" in cookie


async def test_a_proxy_may_serve_the_login_under_a_path(database, clock) -> None:
    house = House(database, clock, root="/veilleur")
    house.add("jmartin", "operator")
    async with house.browser() as web:
        assert (await web.get("/")).headers["location"] == "/veilleur/login?next=/"
        assert (await log_in(web)).headers["location"] == "/veilleur/"
        assert (await web.get("/")).status_code == 200


async def test_a_form_in_an_alphabet_that_is_none_is_refused_like_any_other(closed) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n\\ud800\r\n--x--\r\n'
    kind = {"content-type": "multipart/form-data; charset=unicode_escape; boundary=x"}
    async with closed.browser() as web:
        await log_in(web)
        assert (await web.post("/logout", content=body, headers=kind)).status_code == 403


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil.example", "", "x", "/a\nb", None])
def test_nobody_is_sent_to_another_site_after_the_login(path) -> None:
    assert local_path(path) == "/"
    assert local_path("/docs?lang=en") == "/docs?lang=en"


async def test_a_wrong_password_says_neither_whether_the_name_is_known_nor_lets_in(closed) -> None:
    async with closed.browser() as web:
        known, unknown = await log_in(web, password=WRONG), await log_in(web, name="nobody")
        assert known.status_code == unknown.status_code == 403
        assert "do not belong together" in known.text
        clean = [re.sub(r"[0-9a-f]{64}|jmartin|nobody", "", one.text) for one in (known, unknown)]
        assert clean[0] == clean[1]
        assert "wrong wrong" not in known.text


async def test_guessing_is_stopped_for_a_while_and_others_still_get_in(closed, clock) -> None:
    closed.add("pdurand", "dpo-ville")
    async with closed.browser() as web:
        for _ in range(PER_PAIR):
            assert (await log_in(web, password=WRONG)).status_code == 403
        refused = await log_in(web)
        assert refused.status_code == 429
        assert "quarter of an hour" in refused.text
        assert (await log_in(web, name="pdurand")).status_code == 303
    clock.move(WHILE_S)
    async with closed.browser() as web:
        assert (await log_in(web)).status_code == 303


async def test_those_who_guess_side_by_side_guess_no_more_often(closed, ask) -> None:
    async with closed.browser() as web:
        page = await web.get("/login", params={"lang": "en"})
        form = {"form_token": form_token_in(page.text), "name": "jmartin", "password": WRONG}
        async with asyncio.TaskGroup() as tasks:
            for _ in range(30):
                tasks.create_task(web.post("/login?lang=en", data=form))
    tried = ask("SELECT count(*) FROM actions WHERE action = 'session.refused'")[0][0]
    assert PER_PAIR <= tried < PER_PAIR + AT_ONCE


async def test_one_address_cannot_try_every_name(closed) -> None:
    async with closed.browser() as web:
        for number in range(PER_ADDRESS):
            assert (await log_in(web, name=f"n{number}")).status_code == 403
        assert (await log_in(web)).status_code == 429


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        pytest.param({}, {}, id="no-token"),
        pytest.param({"form_token": "0" * 64}, {}, id="guessed"),
        pytest.param({"form_token": "é"}, {}, id="strange"),
        pytest.param(None, {"sec-fetch-site": "cross-site"}, id="cross-site"),
    ],
)
async def test_a_form_from_another_site_does_nothing(closed, form, headers) -> None:
    async with closed.browser() as web:
        await log_in(web)
        page = await web.get("/account?lang=en")
        sent = {"form_token": form_token_in(page.text)} if form is None else form
        for path in ("/logout", "/account"):
            assert (await web.post(path, data=sent, headers=headers)).status_code == 403
        assert (await web.get("/")).status_code == 200


async def test_a_form_of_one_session_is_no_good_in_another(closed) -> None:
    async with closed.browser() as web, closed.browser() as other:
        await log_in(web)
        await log_in(other)
        token = form_token_in((await web.get("/account")).text)
        assert (await other.post("/logout", data={"form_token": token})).status_code == 403


async def test_a_person_changes_their_password_and_is_asked_for_it(closed, ask) -> None:
    new = "quatre petits chats"
    async with closed.browser() as web:
        await log_in(web)
        token = form_token_in((await web.get("/account")).text)
        form = {"form_token": token, "password": PASSWORD, "new": new, "again": new}
        for spoilt, said in (
            ({"again": "other"}, "not the same twice"),
            ({"password": WRONG}, "do not belong together"),
            ({"new": "short", "again": "short"}, "12 characters"),
        ):
            answer = await web.post("/account?lang=en", data=form | spoilt)
            assert answer.status_code == 400
            assert said in answer.text
        assert "is changed" in (await web.post("/account?lang=en", data=form)).text
        assert ask("SELECT count(*) FROM actions WHERE action = 'session.begun'") == [(1,)], "nobody else came in"
        assert (await web.get("/")).status_code == 303
        assert (await log_in(web)).status_code == 403
        assert (await log_in(web, password=new)).status_code == 303


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("operator", ["/", "/docs", "/v1/counts", "/v1/streams", "/metrics"], []),
        ("dpo-ville", ["/", "/docs", "/v1/counts", "/v1/totals"], ["/metrics"]),
        ("consumer-crisis-room", ["/docs", "/v1/openapi.json"], ["/", "/live", "/v1/streams", "/metrics"]),
    ],
)
async def test_a_role_opens_what_it_opens_and_nothing_else(closed, role, may, may_not) -> None:
    async with closed.browser(**closed.token(role)) as web:
        for path in may:
            assert (await web.get(path)).status_code == 200, path
        for path in may_not:
            assert (await web.get(path)).status_code == 403, path
        assert "not open to you" in (await web.get("/account?lang=en")).text, "a program is nobody's account"


async def test_only_a_person_changes_something(closed) -> None:
    router = APIRouter()

    @router.get("/v1/act", dependencies=[Depends(require(*STAFF, person=True))])
    def act() -> str:
        return "done"

    @router.get("/v1/act-dpo", dependencies=[Depends(require(Role.DPO_VILLE, person=True))])
    def act_dpo() -> str:
        return "done"

    closed.app.include_router(router)
    async with closed.browser(**closed.token("operator")) as program:
        assert (await program.get("/v1/act")).status_code == 403
    async with closed.browser() as web:
        await log_in(web)
        assert (await web.get("/v1/act")).json() == "done"
        assert (await web.get("/v1/act-dpo")).status_code == 403


async def test_where_nobody_is_asked_a_passer_by_still_signs_nothing(database, clock) -> None:
    house = House(database, clock, Access.OPEN)
    house.add("jmartin", "operator")
    async with house.browser() as web:
        assert "Nobody is asked" in (await web.get("/?lang=en")).text
        assert (await web.get("/account")).headers["location"] == "/login?next=/account"
        await log_in(web)
        assert (await web.get("/account")).status_code == 200


async def test_access_can_be_required_before_there_is_an_account(database, clock) -> None:
    house = House(database, clock, Access.REQUIRED)
    async with house.browser() as web:
        assert (await web.get("/")).status_code == 303
        assert (await web.get("/v1/counts")).status_code == 401


async def test_a_body_that_never_ends_is_not_read(closed) -> None:
    async with closed.browser() as web:
        answer = await web.post("/login", content=b"x" * (BODY_BYTES_MAX + 1))
        assert answer.status_code in {403, 413}
        form = {"content-type": "application/x-www-form-urlencoded"}
        assert (await web.post("/login", content=b"a=" + b"x" * BODY_BYTES_MAX, headers=form)).status_code == 413


async def test_a_body_that_does_not_come_in_time_is_not_waited_for(closed, monkeypatch) -> None:
    monkeypatch.setattr(porter, "BODY_WITHIN_S", 0.05)

    async def trickle():
        yield b"name="
        await asyncio.Event().wait()

    async with closed.browser() as web:
        form = {"content-type": "application/x-www-form-urlencoded"}
        assert (await web.post("/login", content=trickle(), headers=form)).status_code == 408


@pytest.mark.parametrize("cookie", ["", "x" * 5000, f"{SESSION_COOKIE}=\x7f", f"{SESSION_COOKIE}=a/b", "a=b;;=;\x01"])
async def test_a_cookie_that_is_none_is_nobodys(closed, cookie) -> None:
    async with closed.browser() as web:
        assert (await web.get("/", headers={"cookie": cookie})).status_code == 303


async def test_a_page_without_a_form_keeps_nothing_in_a_browser(house) -> None:
    async with house.browser() as web:
        assert "set-cookie" not in (await web.get("/")).headers
        assert FORM_COOKIE in (await web.get("/login")).headers["set-cookie"]


@pytest.mark.parametrize(
    ("access", "listen", "account", "starts"),
    [
        ("auto", "127.0.0.1:0", False, True),
        ("auto", "[::1]:0", False, True),
        ("auto", "0.0.0.0:0", False, False),
        ("auto", "192.0.2.1:0", False, False),
        ("auto", "0.0.0.0:0", True, True),
        ("required", "0.0.0.0:0", False, True),
        ("open", "0.0.0.0:0", False, True),
    ],
)
def test_a_city_is_not_shown_to_whoever_reaches_the_machine(house, access, listen, account, starts) -> None:
    if account:
        house.add("jmartin", "operator")
    expected = contextlib.nullcontext() if starts else pytest.raises(SettingsRejectedError, match="account add")
    with expected:
        check_access(Access(access), ListenAddress.parse(listen), house.accounts)


@pytest.mark.parametrize("error", [sa.exc.TimeoutError("in use"), sa.exc.OperationalError("BEGIN", {}, Exception("x"))])
async def test_while_the_database_does_not_answer_whoever_asks_is_put_off(closed, database, error) -> None:
    token, silent = closed.token("operator"), []

    def refuse(_connection) -> None:
        if silent and not silent.pop():
            raise error

    async with closed.browser(**token) as web:
        assert (await web.get("/v1/counts")).status_code == 200
        sa.event.listen(database.readers, "begin", refuse)
        for answers in ([False], [False, True]):
            silent[:] = answers
            for path in ("/v1/counts",):
                answer = await web.get(path)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
                assert "ask again" in answer.json()["error"]
        silent[:] = [False, True]
        assert (await web.get("/?lang=en")).status_code == 503
        assert (await web.get("/v1/counts")).status_code == 200
