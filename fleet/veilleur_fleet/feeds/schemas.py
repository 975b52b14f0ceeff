"""JSON Schemas of the records as REST and server-sent events tell them: objects, with the field names of docs/wire.md.

Generated from the registry like ``asyncapi``, which describes the same records as the arrays that MessagePack carries.
"""

from typing import Any, Final

from veilleur_fleet.feeds.asyncapi import schemas
from veilleur_fleet.store.kinds import NAME_OF

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


def told_schemas() -> dict[str, dict[str, Any]]:
    """Return the schema of ``record`` for each ``kind`` that REST tells."""
    arrays = schemas()
    return {name: _object_of(arrays[kind.__name__]) for kind, name in NAME_OF.items()}


def _object_of(array: dict[str, Any]) -> dict[str, Any]:
    """Return what an array schema says, as an object; its first place is the tag, which ``kind`` says."""
    fields = {
        item["title"]: {key: value for key, value in item.items() if key != "title"} for item in array["items"][1:]
    }
    return {
        "$schema": _DRAFT,
        "title": array["title"],
        "description": array["description"],
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }
