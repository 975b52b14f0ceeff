"""What can go wrong while simulating, each with one clear sentence."""

from veilleur_contracts.errors import RejectedError, TransientError


class ScenarioRejectedError(RejectedError):
    """A scenario that cannot be played; the sentence names the place and the remedy."""


class FilmRejectedError(RejectedError):
    """A film that cannot be written or served."""


class FootageRejectedError(RejectedError):
    """Footage that is not what it should be."""


class FootageUnreachableError(TransientError):
    """No source of footage answered."""


class BrokerUnavailableError(TransientError):
    """No broker could be started."""


class PostgresUnavailableError(TransientError):
    """No PostgreSQL server could be started."""


class RtspUnavailableError(TransientError):
    """The RTSP server did not come up."""


class PartFailedError(TransientError):
    """One of the parts of the demo ended or never became ready."""
