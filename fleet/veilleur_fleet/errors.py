"""What can go wrong in the fleet, by what to do about it."""

from veilleur_contracts.errors import RejectedError, TransientError


class StoreUnavailableError(TransientError):
    """The database cannot be written or read right now; nothing of the transaction was kept."""


class StoreRejectedError(RejectedError):
    """A data folder that this program cannot use as it is."""


class ShardTakenError(StoreRejectedError):
    """Another worker writes a shard that we were to write."""


class BrokerRejectedError(RejectedError):
    """The broker answers and says no: the address, the account or its rights are wrong."""


class SettingsRejectedError(RejectedError):
    """A setting that cannot be followed; the sentence names it and the remedy."""


class QueryRejectedError(RejectedError):
    """A question to the store that cannot be answered as it is asked."""
