"""A whole consumer: python quickstart_hypervisor.py broker:1883 http://fleet:8080 books.db (paho-mqtt and msgpack)."""

import base64
import json
import sqlite3
import sys
import urllib.request
import zlib

import msgpack
import paho.mqtt.client as mqtt

broker, fleet, path = sys.argv[1:]
books = sqlite3.connect(path, isolation_level=None)
books.execute("CREATE TABLE IF NOT EXISTS told (shard, cursor, box, stream, seq, record, PRIMARY KEY (shard, cursor))")


def last_of(shard):
    return books.execute("SELECT max(cursor) FROM told WHERE shard = ?", (shard,)).fetchone()[0] or 0


def take(payload, *, asked=False):
    _, cursor, box, stream, seq, record = msgpack.unpackb(payload)
    shard = zlib.crc32(box.encode()) % 16
    if cursor > last_of(shard) + 1 and not asked:
        catch_up(shard)  # something was missed; this one is among what is told again
    elif cursor > last_of(shard):  # anything older was taken before; what is asked for may have holes
        books.execute("INSERT INTO told VALUES (?, ?, ?, ?, ?, ?)", (shard, cursor, box, stream, seq, str(record)))
        print(box, seq, record, flush=True)  # your work goes here; record[0] says what it is (docs/wire.md)


def catch_up(shard):
    after, last = last_of(shard), None
    while after != last:
        with urllib.request.urlopen(f"{fleet}/v1/records?shard={shard}&after={after}&limit=1000", timeout=10) as answer:
            page = json.load(answer)
        for item in page["items"]:
            take(base64.b64decode(item["payload"]), asked=True)
        after, last = page["next"], page["last"]


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.on_connect = lambda *_: client.subscribe("veilleur/v1/+/out/#", qos=1)
client.on_subscribe = lambda *_: [catch_up(shard) for shard in range(16)]  # from now on all is told; before that, asked
client.on_message = lambda _client, _data, message: take(message.payload)
client.connect_async(broker.split(":")[0], int(broker.split(":")[1]))
client.loop_forever(retry_first_connection=True)
