"""The broker's configuration as text, from the topic registry: pure, and the same bytes for the same holders.

    listener ──mTLS──▶ CN is account and client id ──▶ acl: one paragraph for each holder, nobody else anything

Measured with Mosquitto 2.0.11: SIGHUP reads acl, certificates and CRL again and lets connections stand; of a revoked
certificate the client sees only a timeout; SUBSCRIBE is granted to everybody, and what may not be heard never comes.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from veilleur_contracts.rights import CONSUMES, Holder, Role, holder_of, rights_of, service_of

PORT: Final = 8883
FILES: Final = "/mosquitto/files"
ACL: Final = "acl"
CA: Final = "ca.pem"
CRL: Final = "crl.pem"
CERTIFICATE: Final = "broker.pem"
KEY: Final = "broker-key.pem"
CONFIGURATION: Final = "mosquitto.conf"
RELOADER: Final = "run.sh"


def configuration(
    files: str = FILES, port: int = PORT, address: str = "", user: str = "veilleur-fleet", more: Iterable[str] = ()
) -> str:
    """Return mosquitto.conf.

    Args:
        files: Folder of certificates, CRL and acl, as the broker sees it.
        port: TCP port.
        address: Address to listen on; empty: all.
        user: Whom Mosquitto becomes when it is started by root: who may read its key, which is whoever wrote it.
        more: Further lines.
    """
    return f"""\
# Made by `veilleur-fleet broker config`. Only certificates of the fleet's authority are let in, and the name in one is
# account and client id: nobody can write as another, nor take another's connection.
# A broker may lose what it holds at any moment: boxes keep every record until the fleet says it is in its database.
per_listener_settings true
user {user}

listener {port}{f" {address}" if address else ""}
# After `listener`, or it is not the listener's. Without it a client could take the connection of another [measured].
use_username_as_clientid true
use_identity_as_username true
require_certificate true
allow_anonymous false
cafile {files}/{CA}
certfile {files}/{CERTIFICATE}
keyfile {files}/{KEY}
crlfile {files}/{CRL}
tls_version tlsv1.2
acl_file {files}/{ACL}
# Without it Nagle's algorithm holds small acknowledgements back: 502 instead of 7,900 a second [measured].
set_tcp_nodelay true

persistence true
persistence_location {files}/data/
autosave_interval 60

max_packet_size 131072
max_inflight_messages 64
max_queued_messages 10000
max_keepalive 300

log_dest stderr
log_type error
log_type warning
log_type notice
{"".join(f"{line}{chr(10)}" for line in more)}"""


Told = Callable[[str, str | None], Sequence[str]]
"""Returns the topic filters of what a service is told, of one controller's boxes or (None) of all."""


def acl(holders: Iterable[Holder], told: Told = lambda _service, _controller: ()) -> str:
    """Return the access list: whoever has no paragraph may do nothing, and a service hears what it is ``told``."""
    paragraphs = [
        "# Made by veilleur-fleet from who holds a certificate. Whoever has no paragraph here may do nothing.\n"
    ]
    for holder in holders:
        rights = rights_of(holder)
        lines = [f"\n# {holder.role.value}{f' of {holder.controller}' if holder.controller else ''}"]
        lines.append(f"user {holder.name}")
        lines += [f"topic write {topic}" for topic in rights.says]
        service = service_of(holder)
        hears = rights.hears if service is None else told(service, holder.controller)
        lines += [f"topic read {topic}" for topic in hears]
        paragraphs.append("\n".join(lines) + "\n")
    return "".join(paragraphs)


def example_holders() -> tuple[Holder, ...]:
    """Return one holder of each role, for the access list that stands in the repository."""
    return (
        holder_of(Role.FLEET, "main", None),
        holder_of(Role.BOX, "gare-01", "ville"),
        *(holder_of(role, "example", "ville") for role in CONSUMES),
    )


RUN: Final = """\
#!/bin/sh
# Made by `veilleur-fleet broker config`, like the files beside it.
# Run Mosquitto and let it read acl, CRL and certificates again when the fleet has written them: run.sh mosquitto.conf
# A revoked box keeps its connection until it is told to go, and comes back unless the CRL was read; both take seconds.
set -u
conf=$1
files=$(dirname "$conf")
look_every_s=${LOOK_EVERY_S:-2}
written() { cat "$files/acl" "$files/crl.pem" "$files/broker.pem" 2>/dev/null | cksum; }
before=$(written)
"${MOSQUITTO:-mosquitto}" -c "$conf" &
broker=$!
trap 'kill -TERM "$broker" 2>/dev/null' TERM INT
while kill -0 "$broker" 2>/dev/null; do
    sleep "$look_every_s" &
    wait $!
    now=$(written)
    if [ "$now" != "$before" ]; then
        before=$now
        kill -HUP "$broker" 2>/dev/null
    fi
done
wait "$broker"
"""
"""The broker's supervisor: a few lines of shell, since the broker's image has nothing else."""


def examples() -> dict[str, str]:
    """Return the files of ``firmware-config/broker``, by name."""
    return {CONFIGURATION: configuration(), "acl.example": acl(example_holders()), RELOADER: RUN}


def main(arguments: list[str]) -> None:
    """Write the examples: ``python -m veilleur_fleet.pki.mosquitto firmware-config/broker``."""
    for name, text in examples().items():
        path = Path(arguments[1]) / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if name == RELOADER else 0o644)


if __name__ == "__main__":
    main(sys.argv)
