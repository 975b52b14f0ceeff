"""An independent consumer: subscribes to ``out/`` and keeps the books, to be held against the agents' and the fleet's.

broker ── veilleur/v1/+/out/# ──▶ Ledger: which (box, stream, seq) were seen, how often, and what they counted
"""

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from veilleur_contracts.clock import Clock
from veilleur_contracts.codec import MessageRejectedError, decode_published, decode_record
from veilleur_contracts.messages import CrossingWindow
from veilleur_contracts.topics import ROOT
from veilleur_simulator.errors import PartFailedError

OUT_FILTER: Final = f"{ROOT}/+/out/#"
ENTRIES_MAX: Final = 2_000_000
READY_WITHIN_S: Final = 10.0

Entry = tuple[str, int, int]
"""Box, stream, sequence number."""


@dataclass(frozen=True, slots=True)
class Books:
    """What a ledger held at one moment.

    Attributes:
        seen: How often each entry came.
        refused: Messages that were none.
        crossings: Crossings told of by all windows, withheld ones apart.
        first_count_s: When the first window with a crossing came, by the clock given; None: none yet.
    """

    seen: dict[Entry, int]
    refused: int
    crossings: int
    first_count_s: float | None

    @property
    def duplicated(self) -> int:
        """How many messages came again."""
        return sum(times - 1 for times in self.seen.values())


class Ledger:
    """Reads what the fleet publishes, in a thread of its own, for as long as the block lasts."""

    def __init__(self, host: str, port: int, clock: Clock) -> None:
        self._address, self._clock = (host, port), clock
        self._lock = threading.Lock()
        self._seen: Counter[Entry] = Counter()
        self._refused = self._crossings = 0
        self._first_count_s: float | None = None
        self._ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        self._client.on_connect = self._joined
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._read

    def __enter__(self) -> Self:
        self._client.connect(*self._address)
        self._client.loop_start()
        if not self._ready.wait(READY_WITHIN_S):
            self._client.loop_stop()
            raise PartFailedError("the broker did not let the ledger subscribe")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def books(self) -> Books:
        """Return what is held now."""
        with self._lock:
            return Books(dict(self._seen), self._refused, self._crossings, self._first_count_s)

    def _joined(self, client: mqtt.Client, *_: Any) -> None:  # paho hands over what is not needed here
        client.subscribe(OUT_FILTER, qos=1)

    def _read(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:  # paho's own
        with self._lock:
            try:
                told = decode_published(bytes(message.payload))
                record = decode_record(bytes(told.record))
            except MessageRejectedError:
                self._refused += 1
                return
            if len(self._seen) >= ENTRIES_MAX:
                self._refused += 1
                return
            self._seen[told.box, told.stream, told.seq] += 1
            if isinstance(record, CrossingWindow) and self._seen[told.box, told.stream, told.seq] == 1:
                self._crossings += sum(count or 0 for count in record.counts)
                if self._crossings and self._first_count_s is None:
                    self._first_count_s = self._clock.elapsed_s()
