"""A real box under signed policies, in this process, with everything it said: log, audit, records at its fleet."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fleet_double import Ledger, fleet_at
from veilleur_agent.audit_view import look_into
from veilleur_agent.box import Box
from veilleur_agent.confine.process import lacking_here
from veilleur_agent.offers import put_offer
from veilleur_agent.plan import Plan
from veilleur_agent.preflight import plan_of
from veilleur_agent.settings import settings_of
from veilleur_contracts.audit import What
from veilleur_contracts.clock import SystemClock
from veilleur_simulator.broker import Broker
from waiting import until

WITHIN_S = 60.0


class Watched:
    """A box that runs, its log, its audit, and the ledger of its fleet."""

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        self.told: list[tuple[str, dict[str, object]]] = []
        self.ledger, self.plan = ledger, plan
        self.box = Box(plan, lambda event, **values: self.told.append((event, values)), SystemClock())

    def events(self, name: str) -> list[dict[str, object]]:
        return [values for event, values in self.told if event == name]

    def states(self) -> list[tuple[object, object, object]]:
        """Profile, why no more, and whether it runs, each time it changed."""
        return [(one["profile"], one["why"], one["runs"]) for one in self.events("camera.permissions_changed")]

    def records(self, kind: type) -> list:
        return [record for record in self.ledger.records.values() if isinstance(record, kind)]

    def audit(self, *kinds: type[What]) -> list[What]:
        findings, entries = look_into(self.plan.audit, 10_000)
        assert findings.is_whole, findings.faults
        return [entry.what for entry in entries if isinstance(entry.what, kinds)]

    def offer(self, document: Path | bytes) -> str:
        return put_offer(self.plan.offers, document if isinstance(document, bytes) else document.read_bytes())

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition, WITHIN_S)

    async def until_dealt_with(self, sha256: str) -> None:
        await self.until(lambda: not (self.plan.offers / f"{sha256}.dsse").exists())


@asynccontextmanager
async def box_in(
    folder: Path, site: str, models: Path, broker: Broker, *, policy: Path | None, root: Path | None
) -> AsyncIterator[Watched]:
    """Run a box with its state in ``folder``; it ends well with the block, or the test fails."""
    (folder / "site.toml").write_text(site, encoding="utf-8")
    settings = settings_of(
        state=folder / "state",
        models=models,
        model="sprite",
        policy=None if policy is None else str(policy),
        root=root,
        broker=broker.url,
        trust_clock=True,
        allow_unconfined=bool(lacking_here()),
    )
    watched = Watched(plan_of(folder / "site.toml", settings), Ledger())
    async with fleet_at(broker.host, broker.port, watched.ledger):
        task = asyncio.create_task(watched.box.run(), name="box")
        try:
            yield watched
            watched.box.stop()
            assert await task == 0
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
