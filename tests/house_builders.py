"""The fleet's web on a database, with somebody at its entrance: who comes with which account or token."""

import re

import httpx

from fleet_builders import entrance_of
from veilleur_fleet.access.actions import Actions, By
from veilleur_fleet.access.capacity import Access, Capacity
from veilleur_fleet.app import health_of
from veilleur_fleet.ingest import Standing
from veilleur_fleet.metrics import Metrics
from veilleur_fleet.oversight import Oversight
from veilleur_fleet.steer.desk import Desk
from veilleur_fleet.web.app import web_app
from veilleur_fleet.web.dpo import Office
from veilleur_fleet.web.languages import languages_of
from veilleur_fleet.web.live import Live
from veilleur_fleet.web.pages import Painter, Place

ROOT = By("root", "server")
PASSWORD = "trois petits chats"  # noqa: S105 - of nobody
BROWSER = {"accept": "text/html,*/*"}


class House:
    """A fleet's web on a database, with somebody at its entrance."""

    def __init__(self, database, clock, access=Access.AUTO, root="") -> None:
        self.entrance = entrance_of(database, clock, access)
        self.accounts, self.table, self.live = self.entrance.accounts, self.entrance.routing, Live()
        painter = Painter(
            database.readers,
            languages_of("Europe/Paris"),
            live=self.live,
            clock=clock,
            place=Place(root, "mqtt://broker:1883", "Europe/Paris"),
            connected=lambda: True,
        )
        health = health_of(database.readers, Standing(connected=True))
        desk = Desk(database.desk, clock)
        self.office = Office(Oversight(database.readers), Actions(database.desk, clock), desk.publish)
        self.app = web_app(painter, database.readers, Metrics(), health, self.entrance, office=self.office)
        self.root = root

    def add(self, name, role) -> None:
        self.accounts.add(ROOT, name, name.title(), Capacity.parse(role), PASSWORD)

    def token(self, role) -> dict[str, str]:
        name = f"t-{len(self.accounts.tokens())}"
        return {"authorization": f"Bearer {self.accounts.new_token(ROOT, name, Capacity.parse(role), 30)}"}

    def browser(self, scheme="http", **headers):
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url=f"{scheme}://fleet{self.root}", headers=BROWSER | headers
        )


def form_token_in(page: str) -> str:
    return re.search(r'name="form_token" value="([0-9a-f]{64})"', page)[1]


async def log_in(web, name="jmartin", password=PASSWORD, following="/"):
    page = await web.get("/login", params={"lang": "en"})
    form = {"form_token": form_token_in(page.text), "name": name, "password": password, "following": following}
    return await web.post("/login?lang=en", data=form)
