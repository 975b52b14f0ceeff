"""What every command of the agent may refuse."""

from veilleur_contracts.errors import RejectedError


class StartRefusedError(RejectedError):
    """The agent cannot run as it is asked to; the sentence names the thing and the remedy."""
