"""What may be asked: nothing that is passed over in silence."""

from typing import Any

from fastapi import Request

from veilleur_fleet.errors import QueryRejectedError


def each_name_known(request: Request) -> None:
    """Refuse a misspelt filter: passed over, it would tell more than was asked for.

    Raises:
        QueryRejectedError: A parameter that there is not, or one given twice that is meant once.
    """
    described = request.app.openapi()["paths"][request.scope["route"].path]["get"].get("parameters", [])
    known = {one["name"]: one["schema"] for one in described if one["in"] == "query"}
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in known:
            raise QueryRejectedError(f"{name[:32]!r} is no parameter here; known are {', '.join(known) or 'none'}")
        if names.count(name) > 1 and not _is_list(known[name]):
            raise QueryRejectedError(f"{name}: give it once")


def _is_list(schema: dict[str, Any]) -> bool:
    return any(one.get("type") == "array" for one in [schema, *schema.get("anyOf", [])])
