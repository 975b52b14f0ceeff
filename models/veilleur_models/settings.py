"""What this machine is: the only place of this package that reads the environment.

``VEILLEUR_MODEL_CACHE`` names the folder of built models; by default it is ``veilleur/models`` under
``XDG_CACHE_HOME``, else under ``~/.cache``.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Where models are kept and what registry clients inherit."""

    cache: Path
    environment: Mapping[str, str]


def settings_of(environment: Mapping[str, str], home: Path) -> Settings:
    """Read settings from ``environment``; pure."""
    if named := environment.get("VEILLEUR_MODEL_CACHE"):
        return Settings(Path(named), environment)
    root = environment.get("XDG_CACHE_HOME")
    # The XDG specification says that a relative path there is invalid and must be ignored.
    base = Path(root) if root and Path(root).is_absolute() else home / ".cache"
    return Settings(base / "veilleur" / "models", environment)


def how_to_build(*names: str) -> str:
    """Return the command that builds ``names`` as it can be typed here: with its path where it is not on PATH."""
    program = (
        "veilleur-models" if shutil.which("veilleur-models") else str(Path(sys.executable).parent / "veilleur-models")
    )
    return " ".join((program, "build", *names))


def read_settings() -> Settings:
    """Read this process's settings."""
    return settings_of(dict(os.environ), Path.home())  # noqa: TID251 - this is the settings module
