"""Waze's CIFS feed: what operators confirmed for drivers, and nothing else.

https://developers.google.com/waze/data-feed/cifs-specification, read in November 2026: id, type, polyline, street and
starttime are required, endtime and direction where a thing is to end and which way it goes; we always give both.
"""

from collections.abc import Iterable
from typing import Any

from veilleur_contracts.clock import datetime_of
from veilleur_fleet.notices.board import Notice


def incidents(notices: Iterable[Notice]) -> dict[str, Any]:
    """Return the feed in CIFS's JSON form; who confirmed is not in it."""
    return {"incidents": [{"incident": _incident_of(one)} for one in notices]}


def _incident_of(one: Notice) -> dict[str, str]:
    content = one.content
    said = {
        "id": one.name,
        "creationtime": _time(one.confirmed_ms),
        "updatetime": _time(one.confirmed_ms),
        "type": content.subtype.type,
        "subtype": content.subtype.value,
        "street": content.street,
        "polyline": " ".join(f"{latitude:.6f} {longitude:.6f}" for latitude, longitude in content.line),
        "direction": content.way.value,
        "starttime": _time(one.starts_ms),
        "endtime": _time(one.ends_ms),
    }
    return said | ({"description": content.description} if content.description else {})


def _time(at_ms: int) -> str:
    return f"{datetime_of(at_ms):%Y-%m-%dT%H:%M:%S+00:00}"
