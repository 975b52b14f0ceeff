"""A consumer of ``out/`` as in ``docs/quickstart_hypervisor.py``, killed at will: python … PORT FLEET_URL BOOKS.

out/ ──next cursor?──▶ books        a jump ──▶ GET /v1/records, shard by shard, until nothing is missing
"""

import base64
import json
import os
import sqlite3
import sys
import traceback
import urllib.request
import zlib

import msgpack
import paho.mqtt.client as mqtt

port, fleet, path = sys.argv[1:]
books = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
books.execute("PRAGMA journal_mode = WAL")
books.execute("PRAGMA synchronous = OFF")  # the power stays on here; what is tried is the end of the process
books.execute("CREATE TABLE IF NOT EXISTS told (shard, cursor, box, stream, seq, record, PRIMARY KEY (shard, cursor))")
books.execute("CREATE TABLE IF NOT EXISTS again (times)")
lasts = dict(books.execute("SELECT shard, max(cursor) FROM told GROUP BY shard").fetchall())


def take(payload: bytes) -> None:
    """Write down what comes next; what came before is filtered by its cursor."""
    _, cursor, box, stream, seq, record = msgpack.unpackb(payload)
    shard = zlib.crc32(box.encode()) % 16
    last = lasts.get(shard, 0)
    if cursor > last + 1:
        catch_up(shard)
    elif cursor == last + 1:
        write(shard, cursor, (box, str(stream), seq, msgpack.packb(record)))
    else:
        books.execute("INSERT INTO again VALUES (1)")


def write(shard: int, cursor: int, told: tuple[str, str, int, bytes]) -> None:
    """Write one record down."""
    books.execute("INSERT INTO told VALUES (?, ?, ?, ?, ?, ?)", (shard, cursor, *told))
    lasts[shard] = cursor


def catch_up(shard: int) -> None:
    """Ask for what was missed; cursors may have holes, where records were forgotten."""
    after, last = lasts.get(shard, 0), None
    while after != last:
        question = f"{fleet}/v1/records?shard={shard}&after={after}&limit=1000"
        with urllib.request.urlopen(question, timeout=10) as answer:  # noqa: S310 - the bench's own fleet
            page = json.load(answer)
        for item in page["items"]:
            _, cursor, box, stream, seq, record = msgpack.unpackb(base64.b64decode(item["payload"]))
            write(shard, cursor, (box, str(stream), seq, msgpack.packb(record)))
        after, last = page["next"], page["last"]


def guarded(work) -> None:  # noqa: ANN001 - a callable
    """Do ``work``; whatever goes wrong ends the program at once, and whoever started it starts it again."""
    try:
        work()
    except BaseException:  # noqa: BLE001 - said, and then the end
        traceback.print_exc()
        os._exit(1)


def main() -> None:
    """Follow for ever."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_connect = lambda *_: client.subscribe("veilleur/v1/+/out/#", qos=1)
    client.on_subscribe = lambda *_: guarded(lambda: [catch_up(shard) for shard in range(16)])
    client.on_message = lambda _client, _data, message: guarded(lambda: take(message.payload))
    client.reconnect_delay_set(0.2, 1)
    client.connect_async("127.0.0.1", int(port), keepalive=10)
    client.loop_forever(retry_first_connection=True)


if __name__ == "__main__":
    main()
