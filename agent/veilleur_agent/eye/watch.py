"""What every watch over one camera offers, so that a lookout drives zones, speeds, objects and ways alike.

(RawFrame, Step, in good view?) ──take──▶ Watch ──records──▶ what one window tells
                                            └────events───▶ what one object did
"""

from typing import Protocol

from veilleur_agent.eye.pipeline import Step
from veilleur_agent.eye.records import RawFrame
from veilleur_agent.eye.windows import Window
from veilleur_contracts.messages import Record, StreetEvent


class Watch(Protocol):
    """Looks for one kind of thing in the frames of one camera."""

    def take(self, frame: RawFrame, step: Step, *, in_good_view: bool) -> list[StreetEvent]:
        """Take in an observed frame, in order of time; return what one object has just done, if that may be told.

        Args:
            frame: As analysed.
            step: What it came to.
            in_good_view: Whether the view is the one that lines and zones were drawn on.
        """
        ...

    def records(self, window: Window) -> list[Record]:
        """Return what ``window`` tells, which has just closed; windows come oldest first, each once."""
        ...

    def finish(self) -> None:
        """End what is going on where it stands: the last windows are about to close."""
        ...

    def checkpoint(self) -> bytes:
        """Return what a restart must know; nothing about anybody."""
        ...

    def restore(self, data: bytes, *, same_context: bool) -> None:
        """Take up a checkpoint.

        Args:
            data: As ``checkpoint`` gave it.
            same_context: Whether its open windows belong to the Context in force; others are left.

        Raises:
            RejectedError: Damaged, or of something else than is watched now.
        """
        ...
