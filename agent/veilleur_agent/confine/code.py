"""Find the files of the interpreter, and of the libraries a process is meant to import and no others.

Landlock gives by folder and everything beneath, so a folder of installed packages is only made listable (the import
system looks names up in it) and what may be read there is named package by package.
"""

import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
LIBRARY_FOLDERS: Final = (Path("/lib"), Path("/lib64"), Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib"))
_STEM: Final = re.compile(r"[.-]")
_SHARED: Final = re.compile(r"\.so(\.|$)")


@dataclass(frozen=True, slots=True)
class Code:
    """Folders whose names may be read; files and folders whose content may be read too; whose packages those are."""

    listable: tuple[Path, ...]
    readable: tuple[Path, ...]
    packages: frozenset[str]


def running_code(packages: frozenset[str]) -> Code:
    """Return the code of this interpreter and of the installed ``packages``.

    Args:
        packages: First parts of the names in a folder of packages, up to a dot or a hyphen: ``numpy`` stands for
            ``numpy``, ``numpy.libs`` and ``numpy-2.4.6.dist-info``.
    """
    standard = Path(sysconfig.get_path("stdlib")).resolve()
    folders = [folder for folder in map(_resolved, sys.path) if standard not in {folder, folder.parent}]
    readable = [path for path in _children(standard) if path.name not in INSTALLED]
    for folder in folders:
        readable += [path for path in _children(folder) if _STEM.split(path.name)[0] in packages]
    readable += _shared_libraries()
    readable.append(Path(sys.executable).resolve())
    return Code(listable=(standard, *filter(_is_folder, folders)), readable=tuple(readable), packages=packages)


def _shared_libraries() -> Iterator[Path]:
    """Yield what lies in the system's library folders but no Python, whose packages are named one by one."""
    for folder in sorted({folder.resolve() for folder in LIBRARY_FOLDERS}):
        yield from (path for path in _children(folder) if not path.name.startswith("python"))
    yield from (path for path in _children(Path(sys.base_prefix) / "lib") if _SHARED.search(path.name))


def _resolved(entry: str) -> Path:
    return Path(entry).resolve()


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # what cannot be looked at is not given either


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []  # what is not there needs no permission
