"""The REST interface as ``openapi.json`` describes it: what FastAPI cannot know of our refusals is put right here."""

from typing import Any, Final

from fastapi import FastAPI

PUBLIC: Final = frozenset({"/healthz"})
_FAULT: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/Fault"}}}
_DOOR: Final = {
    "401": {"description": "say who you are", "content": _FAULT},
    "403": {"description": "your role does not open this address", "content": _FAULT},
}


class DescribedApi(FastAPI):
    """The application; its description is made once."""

    def openapi(self) -> dict[str, Any]:
        """Return the description: a token is asked for, and what cannot be read is answered 400, never 422."""
        if self.openapi_schema is None:
            described = super().openapi()
            schemes = {"token": {"type": "http", "scheme": "bearer", "description": "`veilleur-fleet token new`"}}
            described["components"]["securitySchemes"] = schemes
            for name in ("HTTPValidationError", "ValidationError"):
                described["components"]["schemas"].pop(name, None)
            for path, methods in described["paths"].items():
                for operation in methods.values():
                    operation["responses"].pop("422", None)
                    if path not in PUBLIC:
                        operation["security"] = [{"token": []}]
                        operation["responses"] |= _DOOR
            self.openapi_schema = described
        return self.openapi_schema
