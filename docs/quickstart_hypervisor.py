"""A whole consumer: python quickstart_hypervisor.py http://fleet:8080 token.txt books.db (nothing to install)."""

import json
import sqlite3
import sys
import time
import urllib.request
from http.client import HTTPException

fleet, token, path = sys.argv[1:]
books = sqlite3.connect(path)
books.execute("CREATE TABLE IF NOT EXISTS told (box, stream, seq, kind, data, PRIMARY KEY (box, stream, seq))")
books.execute("CREATE TABLE IF NOT EXISTS mark (one PRIMARY KEY, mark)")


def follow():
    mark = (books.execute("SELECT mark FROM mark").fetchone() or [""])[0]  # where we were; at first the beginning
    headers = {"Authorization": f"Bearer {open(token).read().strip()}"}
    question, event = urllib.request.Request(f"{fleet}/v1/stream?after={mark}", headers=headers), {}
    for line in urllib.request.urlopen(question, timeout=30):
        name, _, event[name] = line.decode().rstrip("\n").partition(": ")
        if not name and "data" in event:  # an empty line ends an event: your work goes here
            one = json.loads(event["data"])  # "kind" says what it is, "record" what it says (docs/wire.md)
            books.execute("INSERT OR IGNORE INTO told VALUES (:box, :stream, :seq, :kind, :data)", one | event)
        if not name and "id" in event:  # the record and the place to go on from, in one transaction
            books.execute("INSERT OR REPLACE INTO mark VALUES (1, ?)", (event["id"],))
            books.commit()
        event = event if name else {}


while True:
    try:
        follow()
    except (OSError, HTTPException) as error:  # the fleet is away, or says no; it tells what was missed when it is back
        print(error, file=sys.stderr, flush=True)
    time.sleep(1)
