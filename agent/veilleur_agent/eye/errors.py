"""What can go wrong in the eye as a whole; each stage has errors of its own."""

from veilleur_agent.control import RefusedReason
from veilleur_contracts.errors import RejectedError


class EyeRefusedError(RejectedError):
    """What the eye was given cannot be used; box makes the sentence, from a word and a name alone."""

    def __init__(self, reason: RefusedReason, subject: str | None = None) -> None:
        super().__init__(f"the eye refuses: {reason.value}")
        self.reason = reason
        self.subject = subject


class DetectorLostError(Exception):
    """The detector fails on every frame: the process ends, because an eye that sees nothing must not say zero."""


class CheckpointRejectedError(RejectedError):
    """The eye's checkpoint on disk is damaged."""
