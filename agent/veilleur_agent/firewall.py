"""Write the other half of confinement: which addresses eye and mouth may reach, as a ruleset for nftables.

    site, broker, fleet ─▶ names looked up ─▶ Reachable ─▶ ruleset ─▶ nft -f

Landlock lets a process connect to ports, whatever the address (ADR 0008); the kernel's packet filter knows addresses,
and tells processes apart by their user. What eye and mouth say goes there and nowhere else, and is refused at once, not
dropped, so that nothing waits for an answer that never comes.
"""

import asyncio
import ipaddress
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from veilleur_agent.enrolled import broker_for, door_for, read_enrolled
from veilleur_agent.errors import StartRefusedError
from veilleur_agent.plan import hosts_of
from veilleur_agent.resolver import addresses_of
from veilleur_agent.settings import BrokerAddress, DoorAddress, broker_of, settings_of
from veilleur_contracts.site import read_site

TABLE: Final = "veilleur"


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One address and TCP port that a process may connect to."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Reachable:
    """What one process may reach.

    Attributes:
        process: eye or mouth.
        uid: The user it runs as, by which the kernel knows its packets.
        endpoints: Where it may connect to.
    """

    process: str
    uid: int
    endpoints: tuple[Endpoint, ...]


def ruleset_of(reachable: Sequence[Reachable]) -> str:
    """Return a ruleset for ``nft -f``: it replaces its own table, and touches no other."""
    lines = [
        "#!/usr/sbin/nft -f",
        "# Written by `veilleur-agent firewall`; write it again when a camera, the broker or the fleet moves.",
        f"table inet {TABLE}",
        f"delete table inet {TABLE}",
        f"table inet {TABLE} {{",
    ]
    for one in reachable:
        for family, name in ((4, "ipv4"), (6, "ipv6")):
            lines += _set_of(f"{one.process}_{name}", name, _of_family(one.endpoints, family))
    lines += ["    chain out {", "        type filter hook output priority filter; policy accept;"]
    lines += [f"        meta skuid {one.uid} jump {one.process}" for one in reachable]
    lines += ["    }"]
    for one in reachable:
        lines += [
            f"    chain {one.process} {{",
            f"        ip daddr . tcp dport @{one.process}_ipv4 accept",
            f"        ip6 daddr . tcp dport @{one.process}_ipv6 accept",
            "        counter reject with icmpx type admin-prohibited",
            "    }",
        ]
    return "\n".join([*lines, "}", ""])


def _of_family(endpoints: Iterable[Endpoint], version: int) -> list[Endpoint]:
    return sorted(one for one in set(endpoints) if ipaddress.ip_address(one.address).version == version)


def _set_of(name: str, family: str, endpoints: Sequence[Endpoint]) -> list[str]:
    elements = ", ".join(f"{one.address} . {one.port}" for one in endpoints)
    filled = [f"        elements = {{ {elements} }}"] if elements else []
    return [f"    set {name} {{", f"        type {family}_addr . inet_service", *filled, "    }"]


async def look_up(hosts: Iterable[tuple[str, int]]) -> tuple[Endpoint, ...]:
    """Return every address of ``hosts`` with its port.

    Raises:
        StartRefusedError: Nobody knows one of the names; a firewall without it would cut it off.
    """
    wanted = tuple(dict.fromkeys(hosts))
    found = await asyncio.gather(*(addresses_of(host, port) for host, port in wanted))
    for (host, _), addresses in zip(wanted, found, strict=True):
        if not addresses:
            raise StartRefusedError(f"nobody knows the address of {host}: check its name, or write the address itself")
    return tuple(Endpoint(one, port) for (_, port), addresses in zip(wanted, found, strict=True) for one in addresses)


def firewall(
    site: Annotated[Path, typer.Option("--site", help="The site of this box: its cameras.")],
    broker: Annotated[
        str | None, typer.Option("--broker", help="Where the mouth speaks; else VEILLEUR_BROKER, or the enrolment.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Folder of the box, which knows where it enrolled.")
    ] = None,
) -> None:
    """Print nftables rules that let eye and mouth, by their users, reach their cameras and their fleet alone."""
    settings = settings_of(broker=broker, state=state)
    if settings.eye_uid is None or settings.mouth_uid is None:
        raise StartRefusedError(
            "a firewall tells eye and mouth apart by their users: set VEILLEUR_EYE_UID and VEILLEUR_MOUTH_UID"
        )
    found, enrolled = read_site(site), read_enrolled(settings.state)
    cameras = asyncio.run(look_up(hosts_of(found.camera).values()))
    mouths = broker_for(settings, found, enrolled)
    speaks_to: list[BrokerAddress | DoorAddress] = [mouths]
    if settings.gateway is not None:
        speaks_to.append(broker_of(settings.gateway.get_secret_value(), "VEILLEUR_GATEWAY"))
    door = door_for(settings, enrolled, mouths)
    speaks_to += [] if door is None else [door]
    fleet = asyncio.run(look_up((one.host, one.port) for one in speaks_to))
    rules = (Reachable("eye", settings.eye_uid, cameras), Reachable("mouth", settings.mouth_uid, fleet))
    sys.stdout.write(ruleset_of(rules))
