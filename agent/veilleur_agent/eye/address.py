"""Where a picture comes from, and what can go wrong there, in sentences that hold neither password nor query.

"rtsp://user:pass@10.0.0.7/main?x=y" ──address_of──▶ Address(kind, bare URL, user, password, name)
                                                         └── name: "rtsp://10.0.0.7/main", safe to print
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from veilleur_contracts.errors import RejectedError, TransientError

SOURCE_CHARACTERS_MAX: Final = 2048


class SourceRejectedError(RejectedError):
    """What was given as a source is no address at all."""


class CameraError(TransientError):
    """A camera or file gives no picture now; the sentence names it and the remedy, and never a password."""


class CameraMissingError(CameraError):
    """There is no such file, device or stream."""


class CameraUnreachableError(CameraError):
    """Nobody answers at that address."""


class CameraRefusedError(CameraError):
    """The camera wants another name or password."""


class CameraSilentError(CameraError):
    """The camera answered once and then said nothing, or hung up."""


class StreamCorruptError(CameraError):
    """What arrives is not a video that can be read, or only in part."""


class Kind(Enum):
    """How a source is opened."""

    FILE = "file"
    RTSP = "rtsp"
    HTTP = "http"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class Address:
    """One source, its credentials apart from it.

    Attributes:
        kind: How it is opened.
        text: Path, device or URL, without credentials.
        name: What a sentence may call it.
        user: Account, if it asks for one.
        password: Its password.
    """

    kind: Kind
    text: str = field(repr=False)
    name: str
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def is_live(self) -> bool:
        """Whether the pictures come when the camera takes them, rather than when we ask."""
        return self.kind is not Kind.FILE

    def url(self) -> str:
        """Return what FFmpeg is given: the only place where the password stands in a URL; never print it."""
        if self.user is None or self.kind not in {Kind.RTSP, Kind.HTTP}:
            return self.text
        parts = urlsplit(self.text)
        account = quote(self.user, safe="")
        if self.password is not None:
            account = f"{account}:{quote(self.password, safe='')}"
        return urlunsplit(parts._replace(netloc=f"{account}@{parts.netloc}"))


def address_of(
    source: str, *, name: str | None = None, user: str | None = None, password: str | None = None
) -> Address:
    """Read a source as a site or a person writes it.

    Args:
        source: A path, ``/dev/video…``, ``rtsp://``, ``http://`` or ``https://``; an account in it is taken out.
        name: What sentences call it; by default the source without account, query and fragment.
        user: Account, instead of one in the source.
        password: Password, instead of one in the source.

    Raises:
        SourceRejectedError: It is empty, too long, or no address.
    """
    if not source or len(source) > SOURCE_CHARACTERS_MAX or not source.isprintable():
        raise SourceRejectedError("a source is a path, /dev/video0, rtsp://host/path or http://host/path")
    if "://" not in source:
        kind = Kind.DEVICE if source.startswith("/dev/video") else Kind.FILE
        return Address(kind, source, name or source)
    shown = name or shown_of(source)
    try:
        parts = urlsplit(source)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise SourceRejectedError(f"{shown} is no address; write it like rtsp://10.0.0.7:554/stream")
    kinds = {"rtsp": Kind.RTSP, "http": Kind.HTTP, "https": Kind.HTTP}
    if parts.scheme not in kinds:
        raise SourceRejectedError(f"{parts.scheme}:// is no kind of source we read; use rtsp://, http:// or a path")
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
    if user is None and parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
    return Address(kinds[parts.scheme], bare, shown, user, password)


def shown_of(source: str) -> str:
    """Return ``source`` as it may be printed: no account, query or fragment, all of which may hold a password.

    A password written with bare ``/``, ``?``, ``#`` or ``@`` in it leaves no certain place where it ends: then nothing
    of the address is shown.
    """
    scheme, separator, rest = source.partition("://")
    if not separator:
        return source
    authority, slash, tail = rest.partition("/")
    if "@" in tail or any(mark in authority for mark in "?#"):
        return f"{scheme}://…"
    path = tail.split("?", 1)[0].split("#", 1)[0]
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
