"""The MQTT topics, built and read in one place.

veilleur/v1/{controller}/{shard}/{box}/up/{channel}     box → fleet
veilleur/v1/{controller}/{shard}/{box}/dn/{channel}     fleet → box
veilleur/v1/{controller}/out/{S|A|E}/{insee}/{camera}/{kind}   fleet → consumers
veilleur/v1/{controller}/out/T/{box}/{kind}
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.ids import SHARDS, is_slug, shard_of
from veilleur_contracts.messages import MessageClass

ROOT: Final = "veilleur/v1"
TOPIC_BYTES_MAX: Final = 160


class Up(StrEnum):
    """What a box says on."""

    EVENTS = "ev"
    HEALTH = "health"
    STATUS = "status"
    PRIVACY = "privacy"
    AUDIT = "audit"


class Down(StrEnum):
    """What a box listens to."""

    ACK = "ack"
    TWIN = "twin"
    AUDIT = "audit"


class TopicRejectedError(RejectedError):
    """A topic that no box of ours would use."""


@dataclass(frozen=True, slots=True)
class UpTopic:
    """Where a message of a box came from."""

    controller: str
    box: str
    channel: Up


def up_topic(controller: str, box: str, channel: Up) -> str:
    """Return the topic on which ``box`` says ``channel``."""
    return f"{ROOT}/{controller}/{shard_of(box)}/{box}/up/{channel.value}"


def down_topic(controller: str, box: str, channel: Down) -> str:
    """Return the topic on which ``box`` is told ``channel``."""
    return f"{ROOT}/{controller}/{shard_of(box)}/{box}/dn/{channel.value}"


def up_filter(shard: int | None = None) -> str:
    """Return the subscription that takes in every box, or those of one shard."""
    return f"{ROOT}/+/{'+' if shard is None else shard}/+/up/#"


def out_topic(controller: str, kind: MessageClass, insee: str, camera: str, name: str) -> str:
    """Return the topic on which consumers find a record of one camera."""
    return f"{ROOT}/{controller}/out/{kind.value}/{insee}/{camera}/{name}"


def out_technical_topic(controller: str, box: str, name: str) -> str:
    """Return the topic on which consumers find a technical record of one box."""
    return f"{ROOT}/{controller}/out/{MessageClass.TECHNICAL.value}/{box}/{name}"


def read_up_topic(topic: str) -> UpTopic:
    """Read where a message came from.

    Raises:
        TopicRejectedError: Not a topic of ours, a name that is no id, or a shard that is not the box's.
    """
    parts = topic.split("/")
    if len(topic) > TOPIC_BYTES_MAX or len(parts) != _UP_PARTS or "/".join(parts[:2]) != ROOT or parts[5] != "up":
        message = "not a topic on which a box speaks"
        raise TopicRejectedError(message)
    controller, shard, box, channel = parts[2], parts[3], parts[4], parts[6]
    if not (is_slug(controller) and is_slug(box)):
        message = "the topic's controller or box is not an id"
        raise TopicRejectedError(message)
    if not (shard.isascii() and shard.isdigit() and int(shard) < SHARDS and shard == str(shard_of(box))):
        message = f"box {box} does not belong to the shard of its topic"
        raise TopicRejectedError(message)
    try:
        return UpTopic(controller, box, Up(channel))
    except ValueError:
        message = f"box {box} speaks on an unknown channel"
        raise TopicRejectedError(message) from None


_UP_PARTS: Final = 7
