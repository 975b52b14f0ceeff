"""Start the eye: ``python -P -m veilleur_agent.eye CONTROL LINK``, by box and nobody else."""

import sys

from veilleur_agent import child
from veilleur_agent.control import ControlClosedError, EyeStart, to_eye
from veilleur_agent.events import teller_to


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
        from veilleur_agent.eye.app import run  # noqa: PLC0415  # confined first, then loaded

        return run(start, control, link, tell)

    return child.run_guarded(see, tell)


if __name__ == "__main__":
    sys.exit(main())
