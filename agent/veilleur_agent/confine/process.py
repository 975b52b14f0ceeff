"""Give up, for good, every right that a process was not given; called before any library is imported.

one thread ─▶ no core dump ─▶ no new privileges ─▶ Landlock ─▶ no capability ─▶ not dumpable ─▶ seccomp

Landlock binds the thread that asks and what it starts from then on; numpy, OpenCV and OpenVINO start theirs at import.
"""

import resource
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from veilleur_agent.confine import kernel, landlock, seccomp
from veilleur_agent.confine.errors import ConfinementError
from veilleur_agent.confine.imports import allow_imports
from veilleur_agent.confine.landlock import ANY_FREE_PORT, DEVICE, LIST, READ, WRITE, Ruleset
from veilleur_agent.confine.profiles import Confinement


class Missing(StrEnum):
    """What this kernel cannot do."""

    LANDLOCK = "landlock"
    LANDLOCK_PORTS = "landlock_ports"
    LANDLOCK_SCOPE = "landlock_scope"
    SECCOMP = "seccomp"


INDISPENSABLE: Final = frozenset({Missing.LANDLOCK, Missing.LANDLOCK_PORTS, Missing.SECCOMP})
"""Without its scope (Linux 6.12) seccomp still refuses signals and UNIX sockets; the trials tell whether it does."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the kernel gave.

    Attributes:
        landlock_version: 0 when it has none.
        filter_instructions: Length of the seccomp program, 0 when there is none.
        missing: What it cannot do; without Landlock, its ports or seccomp a process is not confined.
    """

    landlock_version: int
    filter_instructions: int
    missing: tuple[Missing, ...]


def apply(confinement: Confinement) -> Measured:
    """Confine this process; what the kernel lacks is left out and said, for the caller to refuse or accept.

    Raises:
        ConfinementError: A thread runs already (it would stay free), a forbidden library is loaded already, or a folder
            to write in does not exist.
        OSError: The kernel refused something it says it can do.
    """
    running = kernel.threads()
    if running != 1:
        raise ConfinementError(f"{running} threads run already and would stay free: confine before importing libraries")
    allow_imports(confinement.importable, confinement.forbidden_imports)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    version = landlock.version()
    if version:
        landlock.restrict(ruleset_of(confinement), version)
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    instructions = 0
    if seccomp.is_available():
        rules = seccomp.rules_for(
            kernel.call("getpid"),
            may_bind=confinement.binds_to_connect,
            may_listen=bool(confinement.bind_ports),
            may_pass_messages=confinement.may_pass_messages,
        )
        instructions = len(seccomp.install(rules))
    return Measured(version, instructions, missing_of(version, has_filter=instructions > 0))


def ruleset_of(confinement: Confinement) -> Ruleset:
    """Return what Landlock is to give back."""
    return Ruleset(
        paths=(
            *((path, LIST, False) for path in confinement.listable),
            *((path, READ, False) for path in confinement.read_only),
            *((path, WRITE, True) for path in confinement.read_write),
            *((path, DEVICE, False) for path in confinement.devices),
        ),
        connect=confinement.connect_ports,
        bind=(*confinement.bind_ports, *((ANY_FREE_PORT,) if confinement.binds_to_connect else ())),
    )


def lacking_here() -> tuple[Missing, ...]:
    """Return what this kernel lacks without which nothing here is confined; changes nothing."""
    missing = missing_of(landlock.version(), has_filter=seccomp.is_available())
    return tuple(one for one in missing if one in INDISPENSABLE)


def missing_of(landlock_version: int, *, has_filter: bool) -> tuple[Missing, ...]:
    """Return what a kernel of this version of Landlock cannot do."""
    lacks = {
        Missing.LANDLOCK: landlock_version == 0,
        Missing.LANDLOCK_PORTS: landlock_version < landlock.PORTS_SINCE,
        Missing.LANDLOCK_SCOPE: landlock_version < landlock.SCOPE_SINCE,
        Missing.SECCOMP: not has_filter,
    }
    return tuple(what for what, is_lacking in lacks.items() if is_lacking)
