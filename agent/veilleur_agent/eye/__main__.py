"""Start the eye: ``python -P -m veilleur_agent.eye CONTROL LINK``, by box and nobody else."""

import sys
from pathlib import Path

from veilleur_agent import child
from veilleur_agent.confine.code import running_code
from veilleur_agent.confine.profiles import EYE_PACKAGES, Confinement, eye_confinement
from veilleur_agent.control import ControlClosedError, to_eye
from veilleur_agent.events import teller_to
from veilleur_agent.starts import EyeStart


def main() -> int:
    """Harden, hear what to do, then load what it takes to do it."""
    child.settle_in()
    control, link = child.sockets_of(sys.argv)
    tell = teller_to(sys.stdout)

    def see() -> int:
        decoder = to_eye()
        start = child.first_message(control, lambda: control.hear(decoder))
        if not isinstance(start, EyeStart):
            raise ControlClosedError("box said something else first")
        if not child.confine(confinement_of(start), "eye", start.reach, control, tell):
            return child.EXIT_REFUSED
        from veilleur_agent.eye.app import run  # noqa: PLC0415 - confined first, then loaded

        return run(start, control, link, tell)

    return child.run_guarded(see, tell)


def confinement_of(start: EyeStart) -> Confinement:
    """Return what the eye may touch."""
    reach = start.reach
    return eye_confinement(
        running_code(EYE_PACKAGES),
        read_only=[Path(path) for path in reach.read_only],
        read_write=[Path(path) for path in (start.state, start.clips) if path is not None],
        camera_ports=reach.ports,
        camera_devices=[Path(path) for path in reach.devices],
        forbidden_paths=[Path(path) for path in reach.others],
    )


if __name__ == "__main__":
    sys.exit(main())
