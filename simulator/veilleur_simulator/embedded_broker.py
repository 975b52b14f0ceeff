"""The embedded broker as a process of its own: ``python -m veilleur_simulator.embedded_broker HOST PORT``.

It is ``amqtt`` (MQTT 3.1.1), for a machine that has only pip.
"""

import asyncio
import sys
import warnings

from veilleur_simulator.lifeline import end_of_life


async def serve(host: str, port: int) -> None:
    """Run the broker until this process should end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # amqtt warns of its own deprecated defaults at import
        from amqtt.broker import Broker  # noqa: PLC0415 - inside the filter above

    over = end_of_life()
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    await over.wait()
    await broker.shutdown()


def main() -> None:
    """Run with host and port from the command line."""
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))


if __name__ == "__main__":
    main()
