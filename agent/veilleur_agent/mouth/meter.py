"""Count what the mouth lets out and takes in, for the privacy report; numbers alone, and nothing of what was said."""

from dataclasses import dataclass


@dataclass(slots=True)
class Meter:
    """Counts since the mouth started.

    Attributes:
        messages: Published, whether for the first time or again.
        message_bytes: Of their topics and payloads.
        refused: Publications that the broker answered with no.
        link_records: New records from the eye.
        link_bytes: Of those, as they came over the link.
        rejects: Messages from outside that were refused.
    """

    messages: int = 0
    message_bytes: int = 0
    refused: int = 0
    link_records: int = 0
    link_bytes: int = 0
    rejects: int = 0

    def sent(self, topic: str, payload: bytes) -> None:
        """Count a message that goes out."""
        self.messages += 1
        self.message_bytes += len(topic.encode()) + len(payload)
