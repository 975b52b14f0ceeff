"""Start the mouth: ``python -P -m veilleur_agent.mouth CONTROL LINK``, by box and nobody else."""

import asyncio
import sys
from pathlib import Path

from veilleur_agent import child
from veilleur_agent.confine.code import running_code
from veilleur_agent.confine.profiles import MOUTH_PACKAGES, Confinement, mouth_confinement
from veilleur_agent.control import ControlClosedError, to_mouth
from veilleur_agent.events import teller_to
from veilleur_agent.starts import MouthStart


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
            if not child.confine(confinement_of(start), "mouth", start.reach, control, tell):
                return child.EXIT_REFUSED
            from veilleur_agent.mouth.app import Mouth  # noqa: PLC0415 - confined first, then loaded

            return runner.run(Mouth(start, control, link, tell).run())

    return child.run_guarded(speak, tell)


def confinement_of(start: MouthStart) -> Confinement:
    """Return what the mouth may touch."""
    reach = start.reach
    return mouth_confinement(
        running_code(MOUTH_PACKAGES),
        read_only=[Path(path) for path in reach.read_only],
        read_write=[Path(start.state), *(() if start.fleet is None else (Path(start.fleet.fetched),))],
        ports=reach.ports,
        forbidden_paths=[Path(path) for path in reach.others],
    )


if __name__ == "__main__":
    sys.exit(main())
