"""Hand out documents by the SHA-256 of their bytes, and to each box the list of those it should hold.

A document never changes, so its hash is its ETag, and a fetch that broke off goes on where it stopped.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from veilleur_contracts.ids import is_slug
from veilleur_fleet.door.admitting import HOLDER

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_RANGE: Final = re.compile(r"bytes=([0-9]{1,9})-")
"""The one form a box asks: from there to the end."""
KEPT_BY_BOXES: Final = "private, max-age=31536000, immutable"

Library = Callable[[str], bytes | None]
"""Returns the bytes of a document by their SHA-256; None when there is none. May wait for the disk."""


Twins = Callable[[str], tuple[int, bytes] | None]
"""Returns sequence and bytes of what a box should hold, by its name; None when nobody has said."""


def document_routes(library: Library) -> list[BaseRoute]:
    """Return the addresses at which documents are handed out."""

    async def document(request: Request) -> Response:
        sha256 = request.path_params["sha256"]
        data = await asyncio.to_thread(library, sha256) if _SHA256.fullmatch(sha256) else None
        if data is None:
            raise HTTPException(404, "there is no such document")
        return _answer(request, data, f'"{sha256}"')

    return [Route("/v1/documents/{sha256}", document, methods=["GET"])]


def twin_routes(twins: Twins) -> list[BaseRoute]:
    """Return the address at which a box asks what it should hold, when the broker does not tell it."""

    async def twin(request: Request) -> Response:
        box = request.path_params["box"]
        holder = request.scope.get(HOLDER)
        if holder is not None and holder.name != box:
            raise HTTPException(403, "a box is told of its own documents only")
        found = await asyncio.to_thread(twins, box) if is_slug(box) else None
        if found is None:
            raise HTTPException(404, "nobody has said what this box should hold")
        headers = {"ETag": f'"{found[0]}"', "Cache-Control": "no-cache"}
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(found[1], media_type="application/msgpack", headers=headers)

    return [Route("/v1/boxes/{box}/twin", twin, methods=["GET"])]


def _answer(request: Request, data: bytes, etag: str) -> Response:
    headers = {"ETag": etag, "Cache-Control": KEPT_BY_BOXES, "Accept-Ranges": "bytes"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is None or request.headers.get("if-range", etag) != etag:
        return Response(data, media_type="application/octet-stream", headers=headers)
    first = int(asked[1])
    if first >= len(data):
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
    return Response(data[first:], 206, media_type="application/octet-stream", headers=headers)
