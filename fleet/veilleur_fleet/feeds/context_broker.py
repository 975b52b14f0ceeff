"""Push entities to an NGSI-LD context broker, in batches that replace what it held of them."""

import http.client
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

import msgspec

from veilleur_contracts.errors import RejectedError, TransientError
from veilleur_fleet.feeds.ngsi import CORE_CONTEXT, Entity

TIMEOUT_S: Final = 15.0
ANSWER_BYTES_MAX: Final = 65_536
BATCH: Final = 100
_UPSERT: Final = "/ngsi-ld/v1/entityOperations/upsert"
_TAKEN: Final = frozenset({200, 201, 204})
_WAIT: Final = frozenset({408, 425, 429})
_BROKEN_FROM: Final = 500


class ContextBrokerUnavailableError(TransientError):
    """The context broker does not answer, or says that it cannot now."""


class ContextBrokerRejectedError(RejectedError):
    """The context broker answers and says no, or its address is none."""


@dataclass(frozen=True, slots=True)
class ContextBroker:
    """Where entities are pushed to.

    Attributes:
        url: Scheme, host, port and the path before ``/ngsi-ld``.
        contexts: Addresses of JSON-LD contexts; the core context is added.
        token: Bearer token; None: none is asked for.
    """

    url: SplitResult
    contexts: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str, contexts: tuple[str, ...] = (), token: str | None = None) -> Self:
        """Read ``http[s]://host[:port][/path]``.

        Raises:
            ContextBrokerRejectedError: It is not such an address; the text is not repeated, it may hold a password.
        """
        try:
            url = urlsplit(text)
            sound = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0 and url.username is None
        except ValueError:
            sound, url = False, urlsplit("")
        if not sound or url.query or url.fragment:
            message = "the context broker is not an address: write it like https://broker.example.org:1026"
            raise ContextBrokerRejectedError(message)
        return cls(url, contexts, token)

    def push(self, entities: Sequence[Entity]) -> None:
        """Push ``entities``, no id twice, ``BATCH`` at a time.

        Each replaces the one before it whole: an update would leave the last count beside the times of a slot whose
        count may not be told.

        Raises:
            ContextBrokerUnavailableError: No answer in time, or one that asks to come back; the same push may succeed.
            ContextBrokerRejectedError: It refuses a batch, or a part of one.
        """
        for batch in _batches(entities):
            body = msgspec.json.encode([{**entity, "@context": [*self.contexts, CORE_CONTEXT]} for entity in batch])
            status = self._post(body)
            if status in _WAIT or status >= _BROKEN_FROM:
                message = f"the context broker answers {status}: try again later"
                raise ContextBrokerUnavailableError(message)
            if status not in _TAKEN:
                message = f"the context broker answers {status} and refuses entities: look at its log, and at the token"
                raise ContextBrokerRejectedError(message)

    def _post(self, body: bytes) -> int:
        kind = http.client.HTTPSConnection if self.url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.url.hostname or "", self.url.port, timeout=TIMEOUT_S)
        headers = {"Content-Type": "application/ld+json", "Accept": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request("POST", self.url.path.rstrip("/") + _UPSERT, body, headers)
            answer = connection.getresponse()
            answer.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            message = f"the context broker does not answer ({type(error).__name__}): look whether it runs"
            raise ContextBrokerUnavailableError(message) from None
        finally:
            connection.close()
        return answer.status


def _batches(entities: Sequence[Entity]) -> Iterator[Sequence[Entity]]:
    for start in range(0, len(entities), BATCH):
        yield entities[start : start + BATCH]
