"""Take what was found in one camera's frames the whole way: detections in, crossings out.

    (RawFrame, Detections) ─▶ track ─▶ Tracks ─▶ lines ─▶ Step(detections, tracks, crossings)

Holds no queue, no clock, no connection. Whoever keeps or shows a frame asks ``redact`` for it.
"""

from dataclasses import dataclass

from veilleur_agent.eye.lines import LineCounter
from veilleur_agent.eye.records import Crossing, Detections, RawFrame, Tracks
from veilleur_agent.eye.track import Tracker, TrackSettings
from veilleur_contracts.site import Camera


@dataclass(frozen=True, slots=True)
class Step:
    """What one frame came to.

    Attributes:
        detections: Everything found, down to the threshold of redaction.
        tracks: Everybody followed, in their state at this frame.
        crossings: Those known since the step before, in order of time; some lie seconds back.
    """

    detections: Detections
    tracks: Tracks
    crossings: tuple[Crossing, ...]


class Pipeline:
    """The stages of one camera, in their order.

    Args:
        camera: Its lines and labels.
        count_score: Least score that starts a track; from the model's card.
    """

    def __init__(self, camera: Camera, *, count_score: float) -> None:
        self._camera = camera
        self._settings = TrackSettings(count_score=count_score)
        self._size = (0, 0)
        self._tracker: Tracker | None = None
        self._counter: LineCounter | None = None

    def step(self, frame: RawFrame, detections: Detections) -> Step:
        """Take in one frame and what was found in it.

        Args:
            frame: Frames come in order of time; when the time goes back, everybody is forgotten.
            detections: From this very frame. A frame nobody could look at is not stepped through at all.
        """
        ended: list[Crossing] = []
        if (frame.width, frame.height) != self._size or self._tracker is None or self._counter is None:
            # Another shape of picture is another view: what was followed in the old one ends there.
            ended = list(self.close())
            self._size = (frame.width, frame.height)
            aspect = frame.width / frame.height
            self._tracker = Tracker(aspect, self._settings)
            self._counter = LineCounter(self._camera.line, frozenset(self._camera.label_set()), aspect)
        tracks = self._tracker.update(detections, frame.at_ms)
        crossings = self._counter.count(tracks, frame.at_ms)
        return Step(detections, tracks, (*ended, *crossings))

    def close(self) -> tuple[Crossing, ...]:
        """End every path, as when the stream has ended, and return who was over by then."""
        counter, self._tracker, self._counter = self._counter, None, None
        return () if counter is None else tuple(counter.close())
