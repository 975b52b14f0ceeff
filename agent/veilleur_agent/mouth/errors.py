"""What can go wrong while speaking, and whose fault it is."""

from enum import StrEnum
from typing import Final

from veilleur_contracts.enrolment import Refusal
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


class CertificateRejectedError(RejectedError):
    """A certificate or key that this box cannot use."""


class DoorUnreachableError(TransientError):
    """The fleet's door does not answer, or not in full."""


class DoorRefusedError(TransientError):
    """The fleet gives no certificate; later it may, or a person has to do something."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(f"the fleet gives no certificate: {reason.value}")
        self.reason = reason


class Untrusted(StrEnum):
    """Why who answers is not believed."""

    AUTHORITY = "authority"
    NAME = "name"
    CLOCK_BEHIND = "clock-behind"
    CLOCK_AHEAD = "clock-ahead"


class DoorUntrustedError(TransientError):
    """Who answers is not the fleet this box believes, or the clock of one of the two is wrong."""

    def __init__(self, why: Untrusted) -> None:
        super().__init__(f"the fleet's door is not believed: {why.value}")
        self.why = why
