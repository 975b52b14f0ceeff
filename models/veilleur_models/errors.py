"""What can go wrong with a model, each with one clear sentence."""

from veilleur_contracts.errors import RejectedError, TransientError


class ModelRejectedError(RejectedError):
    """A model package cannot be used: a wrong hash, a wrong shape, or a card that does not hold."""


class ModelOutputError(RejectedError):
    """A network answered something no decoder can read: wrong shapes, or numbers that are not finite."""


class SourceRejectedError(RejectedError):
    """What a registry gave is not what the catalogue pins."""


class SourceUnreachableError(TransientError):
    """A registry client is missing, failed, or took too long; the same build may succeed later."""


class CacheBusyError(TransientError):
    """Another build holds the cache."""


class GroundTruthError(RejectedError):
    """Annotations or images to judge a model with cannot be read."""
