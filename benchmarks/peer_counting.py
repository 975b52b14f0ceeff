"""Count the same tracks and detections with the peers' packages; runs in an environment of its own.

    stdin: one JSON object per line (a case) ─▶ stdout: one JSON object per line (its counts and seconds)

Every peer is set as its own documents advise for the case: the anchor that we use ourselves, the true frame rate, our
thresholds, two seconds of patience for the lost. A case is ``{"mode", "line", "anchor", "fps", "frames"}``; a frame is
a list of ``[id, label, score, x1, y1, x2, y2]`` in pixels.
"""

import json
import sys
import time
from importlib.metadata import version

import numpy as np
import supervision as sv
from trackers import ByteTrackTracker

PATIENCE = (1, 3)
"""Settings of the peer's own threshold; it is credited with the better of the two in every case."""


def detections_of(rows: list[list[float]], *, with_ids: bool) -> sv.Detections:
    """Return what the peers take; an id of -1 is passed as it comes."""
    table = np.asarray(rows, np.float64).reshape(-1, 7)
    return sv.Detections(
        xyxy=table[:, 3:7].astype(np.float32),
        confidence=table[:, 2].astype(np.float32),
        class_id=table[:, 1].astype(int),
        tracker_id=table[:, 0].astype(int) if with_ids else None,
    )


def counted(case: dict) -> dict:
    """Replay one case and time the peer's part alone."""
    start, end = (sv.Point(*point) for point in case["line"])
    anchors = [sv.Position[case["anchor"]]]
    zones = [sv.LineZone(start, end, anchors, minimum_crossing_threshold=patience) for patience in PATIENCE]
    tracker = None
    if case["mode"] == "detections":
        tracker = ByteTrackTracker(
            lost_track_buffer=60,
            frame_rate=case["fps"],
            track_activation_threshold=0.4,
            high_conf_det_threshold=0.4,
        )
    spent = []
    for rows in case["frames"]:
        found = detections_of(rows, with_ids=tracker is None)
        began = time.thread_time()
        if tracker is not None:
            found = tracker.update(found)
            found = found[found.tracker_id >= 0]
        zones[0].trigger(found)
        spent.append(time.thread_time() - began)
        zones[1].trigger(found)
    # The peer's "in" is towards its left side of the line as it is drawn, which is our right to left.
    return {"counts": [[zone.out_count, zone.in_count] for zone in zones], "median_ms": float(np.median(spent)) * 1000}


def main() -> None:
    """Answer every case in turn."""
    sys.stdout.write(json.dumps({name: version(name) for name in ("supervision", "trackers")}) + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(counted(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
