"""The mouth's store of documents: a folder of files named after the SHA-256 of their bytes, which the eye may read.

What a file says is none of the mouth's business; it knows the hash and the size that the fleet named, and no more.
"""

import contextlib
import hashlib
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from veilleur_agent.atomic import replace_file
from veilleur_agent.mouth.errors import FetchFailedError
from veilleur_contracts.messages import FetchFault

SUFFIX: Final = ".dsse"
_NAME: Final = re.compile(r"([0-9a-f]{64})\.dsse")


class Fetched:
    """Documents on disk. Bounded by ``keep_only``, which is called with every twin.

    Args:
        folder: Which; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._whole = set[str]()

    def holds(self, sha256: str) -> bool:
        """Tell whether the document is there and whole; a damaged one is not."""
        if sha256 not in self._whole:
            with contextlib.suppress(OSError):
                data = (self._folder / f"{sha256}{SUFFIX}").read_bytes()
                if hashlib.sha256(data).hexdigest() == sha256:
                    self._whole.add(sha256)
        return sha256 in self._whole

    def put(self, sha256: str, data: bytes) -> None:
        """Write a document.

        Raises:
            FetchFailedError: It is another one, or the disk refuses.
        """
        if hashlib.sha256(data).hexdigest() != sha256:
            raise FetchFailedError(FetchFault.WRONG_HASH)
        try:
            replace_file(self._folder / f"{sha256}{SUFFIX}", data, 0o644)
        except OSError:
            raise FetchFailedError(FetchFault.DISK) from None
        self._whole.add(sha256)

    def names(self) -> list[str]:
        """Return what is there, by hash."""
        try:
            found = [_NAME.fullmatch(path.name) for path in self._folder.iterdir()]
        except OSError:
            return []
        return sorted(match[1] for match in found if match is not None)

    def keep_only(self, wanted: Collection[str]) -> None:
        """Remove everything else, halves of a write that a power cut left too."""
        with contextlib.suppress(OSError):  # the next twin brings another try
            for path in self._folder.iterdir():
                match = _NAME.fullmatch(path.name)
                if match is None or match[1] not in wanted:
                    path.unlink(missing_ok=True)
        self._whole &= set(wanted)
