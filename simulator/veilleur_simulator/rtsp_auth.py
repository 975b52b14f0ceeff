"""Who may watch a stream: digest (RFC 2617) is asked for, as cameras do; basic is accepted too."""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

REALM: Final = "veilleur-simulator"
_PAIR: Final = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]+))')


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the simulated camera and its password."""

    user: str
    password: str = field(repr=False)


class Challenge:
    """The question one connection is asked, with a nonce of its own."""

    def __init__(self) -> None:
        self._nonce = secrets.token_hex(16)

    @property
    def text(self) -> str:
        """What ``WWW-Authenticate`` says."""
        return f'Digest realm="{REALM}", nonce="{self._nonce}"'

    def is_met(self, account: Account, method: str, headers: Mapping[str, str]) -> bool:
        """Tell whether the request's ``Authorization`` proves that the player knows the password."""
        scheme, _, rest = headers.get("authorization", "").partition(" ")
        match scheme.lower():
            case "basic":
                return self._is_basic(account, rest)
            case "digest":
                return self._is_digest(account, method, rest)
        return False

    def _is_basic(self, account: Account, rest: str) -> bool:
        try:
            given = base64.b64decode(rest, validate=True)
        except binascii.Error:
            return False
        return hmac.compare_digest(given, f"{account.user}:{account.password}".encode())

    def _is_digest(self, account: Account, method: str, rest: str) -> bool:
        given = {name: quoted or bare for name, quoted, bare in _PAIR.findall(rest)}
        if given.get("nonce") != self._nonce or given.get("username") != account.user:
            return False
        who = _md5(f"{account.user}:{REALM}:{account.password}")
        what = _md5(f"{method}:{given.get('uri', '')}")
        return hmac.compare_digest(given.get("response", ""), _md5(f"{who}:{self._nonce}:{what}"))


def _md5(text: str) -> str:
    # RFC 2617 digests are MD5; this proves a test password to a simulated camera and protects nothing
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
