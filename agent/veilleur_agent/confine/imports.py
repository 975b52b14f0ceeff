"""Let a process import the packages it was given, and find no other, installed or not.

Landlock refuses the files of the others; this makes that an ordinary "no such module", which libraries that only look
whether another one is there understand.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

from veilleur_agent.confine.errors import ConfinementError

BUILD_FACTS: Final = "_sysconfigdata_"
"""The one module of the standard library that is named after the machine."""


class OnlyNamed(MetaPathFinder):
    """Stands before every other finder, finds nothing itself, and lets the others look for the given names only."""

    def __init__(self, packages: frozenset[str]) -> None:
        self._packages = packages

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - as importlib calls it
        target: ModuleType | None = None,  # noqa: ARG002 - as importlib calls it
    ) -> ModuleSpec | None:
        """Return None to let the next finder look.

        Raises:
            ModuleNotFoundError: The package is not one that this process was given.
        """
        package = fullname.partition(".")[0]
        if package in self._packages or package in sys.stdlib_module_names or package.startswith(BUILD_FACTS):
            return None
        raise ModuleNotFoundError(f"this process was not given {package!r} (see veilleur_agent.confine)", name=fullname)


def allow_imports(packages: frozenset[str], forbidden: Sequence[str]) -> None:
    """Let this process import ``packages`` and the standard library only, from now on.

    Raises:
        ConfinementError: One of ``forbidden`` is imported already.
    """
    for name in forbidden:
        if name in sys.modules:
            raise ConfinementError(f"{name} is imported in a process that must never have it: correct its imports")
    sys.meta_path.insert(0, OnlyNamed(packages))
