"""The tables as SQLAlchemy Core reads them; ``schema/`` is what makes them, and a test compares the two."""

from typing import Final

import sqlalchemy as sa

from veilleur_contracts.messages import Label


def _table(name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *(sa.column(column) for column in columns))


CELL_COLUMNS: Final = tuple(f"{label.name.lower()}_{way}" for label in Label for way in ("lr", "rl"))
"""The twelve counts of a window, in wire order."""

boxes: Final = _table(
    "boxes",
    *("box_no", "box", "controller", "first_heard_ms", "heard_ms", "born_s", "agent", "contract_revision", "profile"),
    *("quarantined_bytes", "waiting_rows"),
)
streams: Final = _table(
    "streams", "box_no", "stream", "upto", "ahead", "stored", "duplicates", "lost", "refused", "heard_ms"
)
shards: Final = _table("shards", "shard", "last", "published")
records: Final = _table("records", "position", "box_no", "stream", "seq", "tag", "received_ms", "raw", "class")
quarantine: Final = _table(
    "quarantine",
    *("quarantine_no", "box_no", "topic", "stream", "seq", "reason", "received_ms", "times", "digest", "raw"),
)
cameras: Final = _table(
    "cameras",
    *("camera_no", "controller", "camera", "box_no", "insee", "counted"),
    *("at_s", "state", "fps_x10", "reconnects", "frames_dropped"),
    *("context", "view_at_s", "view_faults"),
)
camera_health: Final = _table(
    "camera_health", "camera_no", "at_s", "received_ms", "state", "fps_x10", "reconnects", "frames_dropped"
)
lines: Final = _table("lines", "line_no", "camera_no", "line")
contexts: Final = _table("contexts", "box_no", "number", "camera_no", "received_ms", "raw")
validations: Final = _table("validations", "camera_no", "label_no", "recall", "precision", "crossings")
crossing_windows: Final = _table(
    "crossing_windows",
    *("line_no", "at_s", "position", "window_s", "coverage", "fps_x10", "quality", "counted"),
    *CELL_COLUMNS,
)
identities: Final = _table("identities", "name", "role", "controller", "created_ms")
enrolments: Final = _table(
    "enrolments", "digest", "name", "created_ms", "expires_ms", "withdrawn_ms", "used_ms", "key_digest"
)
certificates: Final = _table(
    "certificates", "serial", "name", "key_digest", "issued_ms", "expires_ms", "revoked_ms", "pem"
)

documents: Final = _table(
    "documents", "sha256", "kind", "content", "version", "published_ms", "published_by", "size_bytes", "raw"
)
standings: Final = _table("standings", "controller", "pinned", "kept", "contact", "changed_ms")
twins: Final = _table("twins", "box", "controller", "sequence", "documents")
audit_logs: Final = _table(
    "audit_logs",
    *("log_no", "box_no", "key", "trusted_by", "first_seen_ms", "heard_ms", "kept_from", "size", "prev", "frontier"),
)
audit_entries: Final = _table("audit_entries", "log_no", "place", "raw")
audit_heads: Final = _table("audit_heads", "log_no", "size", "root", "note", "received_ms")
audit_alarms: Final = _table(
    "audit_alarms",
    *("alarm_no", "box_no", "kind", "first_bad", "last_bad", "sentence", "found_ms", "again_ms", "times"),
)
reports: Final = _table("reports", "report_no", "box_no", "sha256", "made_ms", "received_ms", "key", "raw")
reported: Final = _table(
    "reported",
    *("box_no", "at_s", "root", "policy_version", "policy", "site", "profile", "why", "running", "stops", "heard_s"),
    *("refused", "refusal", "received_ms"),
)
fetches: Final = _table("fetches", "box_no", "at_s", "document", "fault", "tries")

ALL: Final = (
    *(
        boxes,
        streams,
        shards,
        records,
        quarantine,
        cameras,
        camera_health,
        lines,
        contexts,
        validations,
        crossing_windows,
    ),
    *(identities, enrolments, certificates),
    *(audit_logs, audit_entries, audit_heads, audit_alarms, reports),
    *(documents, standings, twins, reported, fetches),
)
