"""What the fleet counts about itself, for Prometheus; built in ``app``, there is no registry of the process."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from veilleur_contracts.clock import Clock
from veilleur_fleet.store.work import Stored

ALARM_EVERY_S: Final = 60.0
_REASONS_KEPT: Final = 20_000


class Alarm:
    """Tells when something may be logged again: once a minute for each reason, whatever a box sends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_s: dict[str, float] = {}

    def is_due(self, reason: str) -> bool:
        """Tell whether to say it now; if so, not again for a minute."""
        now_s = self._clock.elapsed_s()
        if now_s - self._last_s.get(reason, -ALARM_EVERY_S) < ALARM_EVERY_S:
            return False
        if len(self._last_s) >= _REASONS_KEPT:
            self._last_s.clear()
        self._last_s[reason] = now_s
        return True


class Metrics:
    """Counters and gauges of one fleet. No label takes a value from outside, so their number is bounded."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._records = self._counter("records", "Records stored, by class of message.", "class")
        self._duplicates = self._counter("duplicates", "Records that came again and were filtered.")
        self._lost = self._counter("lost", "Records that a box says it had to drop.")
        self._refused = self._counter("refused_records", "Records put in quarantine.")
        self._envelopes = self._counter("refused_messages", "Whole messages refused: no stream or number to be told.")
        self._held_back = self._counter("held_back", "Batches not taken whole: a bound of their box is reached.")
        self._transactions = self._counter("transactions", "Transactions committed.")
        self.acknowledged = self._counter("acknowledgements", "Acknowledgements that the broker took.")
        self.published = self._counter("published", "Messages that the broker took on out/.")
        self.publications_refused = self._counter("publications_refused", "Messages that the broker refused.")
        self.forgotten = self._counter("forgotten", "Records deleted because their class is not kept longer.", "class")
        self.forgotten_windows = self._counter("forgotten_windows", "Rows of crossing windows deleted likewise.")
        self.discarded = self._counter("discarded", "Messages dropped unread because too many came at once.")
        self.store_failures = self._counter(
            "store_failures", "Transactions and readings that the database did not take."
        )
        self.connections = self._counter("broker_connections", "Connections made to the broker.")
        self.connected = Gauge(
            "veilleur_fleet_broker_connected", "1 while connected and subscribed.", registry=self.registry
        )
        self.commit_s = Histogram(
            "veilleur_fleet_commit_seconds",
            "Seconds from the first message of a transaction to its commit.",
            buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
            registry=self.registry,
        )

    def add(self, stored: Stored) -> None:
        """Count what one transaction did."""
        for kind, count in stored.records.items():
            self._records.labels(kind.value).inc(count)
        self._duplicates.inc(stored.duplicates)
        self._lost.inc(stored.lost)
        self._refused.inc(stored.refused.total())
        self._envelopes.inc(stored.envelopes_refused)
        self._held_back.inc(stored.held_back)
        self._transactions.inc()

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"veilleur_fleet_{name}", what, labels, registry=self.registry)
