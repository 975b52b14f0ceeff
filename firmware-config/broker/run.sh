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
