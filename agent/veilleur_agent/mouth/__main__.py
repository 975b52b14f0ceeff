"""Start the mouth: ``python -P -m veilleur_agent.mouth CONTROL LINK``, by box and nobody else."""

import asyncio
import sys

from veilleur_agent import child
from veilleur_agent.control import ControlClosedError, MouthStart, to_mouth
from veilleur_agent.events import teller_to


def main() -> int:
    """Harden, hear what to do, then load what it takes to do it."""
    child.settle_in()
    control, link = child.sockets_of(sys.argv)
    tell = teller_to(sys.stdout)

    def speak() -> int:
        decoder = to_mouth()
        start = child.first_message(control, lambda: control.hear(decoder))
        if not isinstance(start, MouthStart):
            raise ControlClosedError("box said something else first")
        with asyncio.Runner() as runner:
            runner.get_loop()  # made before confinement, which refuses the socket pair it wakes itself with
            from veilleur_agent.mouth.app import Mouth  # noqa: PLC0415  # confined first, then loaded

            return runner.run(Mouth(start, control, link, tell).run())

    return child.run_guarded(speak, tell)


if __name__ == "__main__":
    sys.exit(main())
