"""Small worlds for the tests of kept stills: redacted pictures of an empty street, days in a store, a rough clock."""

from datetime import UTC, date, datetime
from pathlib import Path

from eye_builders import a_frame, a_street, white_faces_graph
from model_builders import entry_of
from veilleur_agent.clip_store import ClipStore
from veilleur_agent.eye.records import RedactedFrame, no_detections
from veilleur_agent.eye.redact import Redactor
from veilleur_agent.eye.retention import DAY_MS, Reckoning, begin
from veilleur_models.build import Graphs, _write
from veilleur_models.catalogue import FACE_DETECTOR

FIRST_MAY_MS = int(datetime(2026, 5, 1, 8, tzinfo=UTC).timestamp() * 1000)
FIRST_MAY = date(2026, 5, 1)
JPEG = b"\xff\xd8\xff\xe0 not a picture, and long enough to be found in a file \xff\xd9"


def a_reckoning(at_ms: int = FIRST_MAY_MS) -> Reckoning:
    return begin(at_ms, is_set=True)


def a_store(folder: Path, days: int = 0, *, camera: str = "avenue", **bounds: int) -> ClipStore:
    """A store with two pictures of each of ``days`` days from the first of May on."""
    store = ClipStore(folder, **{"free_min": 0, **bounds})
    store.prepare()
    for day in range(days):
        for at_ms in (FIRST_MAY_MS + day * DAY_MS, FIRST_MAY_MS + day * DAY_MS + 60_000):
            store.add(camera, at_ms, JPEG, a_reckoning(at_ms))
    return store


def a_redacted_street() -> RedactedFrame:
    redactor = Redactor(lambda _: no_detections(), lambda _: True)
    assert redactor.redact(a_frame(a_street(), at_ms=FIRST_MAY_MS), [no_detections()]) == []
    (redacted,) = redactor.close()
    return redacted


def built_white_faces(models: Path) -> None:
    """Write the white detector into a folder of built models, in the place of the one of faces that is shipped."""
    graph = white_faces_graph()
    (models / FACE_DETECTOR).mkdir()
    _write(entry_of(FACE_DETECTOR), Graphs(graph, graph, "FP32", "made for a test", None), models / FACE_DETECTOR)
