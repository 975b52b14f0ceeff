"""What can go wrong in the fleet, by what to do about it."""

from veilleur_contracts.enrolment import Refusal
from veilleur_contracts.errors import RejectedError, TransientError


class StoreUnavailableError(TransientError):
    """The database cannot be written or read right now; nothing of the transaction was kept."""


class StoreRejectedError(RejectedError):
    """A data folder that this program cannot use as it is."""


class DiskRefusedError(StoreRejectedError):
    """The disk under the database is full or fails; it may take writing again in a moment."""


class ShardTakenError(StoreRejectedError):
    """Another worker writes a shard that we were to write."""


class BrokerRejectedError(RejectedError):
    """The broker answers and says no: the address, the account or its rights are wrong."""


class SettingsRejectedError(RejectedError):
    """A setting that cannot be followed; the sentence names it and the remedy."""


class QueryRejectedError(RejectedError):
    """A question to the store that cannot be answered as it is asked."""


class PkiRejectedError(RejectedError):
    """A certificate, token or authority that cannot be made or used as it is asked for."""


class EnrolmentRefusedError(RejectedError):
    """A box is given no certificate; it is told the reason and nothing else."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(f"no certificate: {reason.value}")
        self.reason = reason


class AccessRejectedError(RejectedError):
    """An account, token or right that is not as it is asked for; the sentence may be read by whoever asked."""
