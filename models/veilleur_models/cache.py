"""The folder of built models: one builder at a time, packages that are there whole or not at all.

<cache>/sources/<sha256>        files from the registries
<cache>/<model>/                a package
<cache>/.building-…             work in progress, removed whatever happens
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from veilleur_models.errors import CacheBusyError, ModelRejectedError

SCRATCH_PREFIX = ".building-"
WAIT_EVERY_S = 0.2


class ModelCache:
    """A cache folder; makes it when something is written, not before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def sources(self) -> Path:
        """Where files from the registries are kept."""
        return self.folder / "sources"

    def package(self, name: str) -> Path:
        """Where the package called ``name`` lies, or would."""
        return self.folder / name

    @contextlib.contextmanager
    def held(self, patience_s: float) -> Iterator[None]:
        """Hold the cache for writing.

        Args:
            patience_s: How long to wait for another build to end.

        Raises:
            CacheBusyError: It did not end in that time.
            ModelRejectedError: The folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ModelRejectedError(f"the cache {self.folder} cannot be written ({reason}): name another") from error
        try:
            self._take(lock, time.monotonic() + patience_s)
            self._sweep()
            yield
        finally:
            os.close(lock)  # which also lets the next builder in

    def _take(self, lock: int, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise CacheBusyError(f"another build holds {self.folder}: wait for it to end") from error
                time.sleep(WAIT_EVERY_S)
            else:
                return

    def _sweep(self) -> None:
        """Remove what a killed build left; safe, because only the holder of the lock has such folders."""
        for left in self.folder.glob(f"{SCRATCH_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give an empty folder on the cache's own disk, and remove it afterwards."""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=SCRATCH_PREFIX, ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    def publish(self, finished: Path, name: str) -> None:
        """Put a finished package in its place, in one step as far as any reader can tell.

        The old package, if any, steps aside first: for an instant there is none, never half of one.
        """
        place = self.package(name)
        with self.scratch() as aside:
            if place.exists():
                place.rename(aside / "old")
            finished.rename(place)
