"""What the eye must know after a restart, in one file: open windows, withheld sums, views, and what it still holds.

One file, because they must agree: a window that was closed and said must not come back as an open one.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from veilleur_agent.atomic import replace_file
from veilleur_agent.eye.errors import CheckpointRejectedError
from veilleur_contracts.ids import CameraId, Slug

CHECKPOINT_BYTES_MAX: Final = 32 * 1024 * 1024
DIGEST_BYTES: Final = 32


class SavedCamera(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What each stage of one camera keeps, in its own words."""

    windows: bytes
    release: bytes
    view: bytes | None
    context: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)] = 0
    watching: Annotated[dict[Slug, bytes], Meta(max_length=8)] = {}


class Checkpoint(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Everything: what is held for the mouth, and every camera."""

    hold: bytes
    cameras: Annotated[dict[CameraId, SavedCamera], Meta(max_length=64)]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Put ``checkpoint`` on disk, whole.

    Raises:
        OSError: The disk refused; the one before is still there.
    """
    data = msgspec.msgpack.encode(checkpoint)
    replace_file(path, hashlib.sha256(data).digest() + data)


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Return what an eye before this one left; None when there was none.

    Raises:
        CheckpointRejectedError: It is damaged.
    """
    try:
        with path.open("rb") as file:
            data = file.read(CHECKPOINT_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError:
        raise CheckpointRejectedError("the eye's checkpoint cannot be read") from None
    if len(data) > CHECKPOINT_BYTES_MAX or hashlib.sha256(data[DIGEST_BYTES:]).digest() != data[:DIGEST_BYTES]:
        raise CheckpointRejectedError("the eye's checkpoint is damaged")
    try:
        return msgspec.msgpack.decode(data[DIGEST_BYTES:], type=Checkpoint)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CheckpointRejectedError("the eye's checkpoint is of another agent") from None
