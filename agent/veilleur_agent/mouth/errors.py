"""What can go wrong while speaking, and whose fault it is."""

from typing import Final

from veilleur_contracts.errors import RejectedError, TransientError
from veilleur_contracts.messages import FetchFault


class DiskRefusedError(TransientError):
    """The disk is full or fails; what was to be stored is still with whoever handed it over."""


class OutboxDamagedError(RejectedError):
    """The outbox on disk cannot be read."""


class OutboxNewerError(RejectedError):
    """The outbox on disk was made by a newer agent."""


class BrokerUnreachableError(TransientError):
    """The broker cannot be reached, went away, or does not answer."""

    code: Final = 0


class BrokerRefusedError(TransientError):
    """The broker is there and says no: account, topic or protocol. Only a person can change that, so keep asking."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the broker refuses this box (MQTT reason {code})")
        self.code = code


class ProtocolRefusedError(BrokerRefusedError):
    """The broker does not speak this version of MQTT."""


class AckRejectedError(RejectedError):
    """An acknowledgement that names what was never sent."""


class FetchFailedError(TransientError):
    """A document, or the list of them, cannot be had from the fleet now."""

    def __init__(self, fault: FetchFault) -> None:
        super().__init__(f"the fleet does not hand it out: {fault.name.lower()}")
        self.fault = fault
