"""What can go wrong when a process gives up its rights."""

from veilleur_contracts.errors import RejectedError


class ConfinementError(RejectedError):
    """A process is not, or cannot be, as confined as it must be; it must not go on."""
