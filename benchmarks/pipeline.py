"""Core-seconds the eye spends per analysed frame, against the least that decoding and inference alone cost.

    .venv/bin/python benchmarks/pipeline.py [--clip FILE] [--fps 5] [--model NAME] [--repeats 5] [--json]

              the eye: capture ─▶ detect ─▶ view watch, track, lines, windows    core-seconds per analysed frame
    ratio = ────────────────────────────────────────────────────────────────
              decode alone (every picture) + OpenVINO's benchmark_app            the same, measured in the same run

Core-seconds are those of the process, all its threads (the kernel's count), so the figure hardly depends on what else
the machine does. The three are measured in turn, again and again, and the median ratio is the figure. benchmark_app is
run twice each time, short and long; the difference is inference without its start. ``--stages`` tells where the eye's
own thread spends its part. ``--live`` measures the eye as the
agent runs it instead: threads that read the clip at its own pace, looped, for ``--cameras`` cameras, and the scheduler.
The bar is 1.15 (docs/architecture.md).
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

import av

from veilleur_agent.eye.address import Address, address_of
from veilleur_agent.eye.camera_health import ViewWatch
from veilleur_agent.eye.capture import Capture, frames_of
from veilleur_agent.eye.detect import Detector, Look
from veilleur_agent.eye.pipeline import Pipeline, Step
from veilleur_agent.eye.records import Detections, RawFrame
from veilleur_agent.eye.scheduler import Scheduler
from veilleur_agent.eye.windows import Windows
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.site import Camera, Line
from veilleur_models.package import ModelPackage, load

ROOT = Path(__file__).parents[1]
BAR = 1.15
SHORT_RUN = 50
WINDOW_S = 60
FOLDERS = (ROOT / ".cache" / "footage", ROOT.parent / "shared" / "footage")
CLIPS = ("vtest.avi", "person-bicycle-car-detection.mp4")
LINES = (Line("across", (0.5, 0.95), (0.5, 0.05)), Line("along", (0.05, 0.6), (0.95, 0.6)))


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement of all three, in core-milliseconds per analysed frame."""

    eye_ms: float
    decode_ms: float
    inference_ms: float
    frames: int

    @property
    def ratio(self) -> float:
        """The figure."""
        return self.eye_ms / (self.decode_ms + self.inference_ms)


def main() -> int:
    """Measure; 0 within the bar, 1 beyond it, 2 when there is nothing to measure with."""
    options = _options()
    clip = options.clip or next(
        (folder / name for name in CLIPS for folder in FOLDERS if (folder / name).is_file()), None
    )
    if clip is None:
        print("pipeline: no clip on this machine; give --clip FILE", file=sys.stderr)
        return 2
    package = load(Path(options.models) / options.model)
    address = address_of(str(clip))
    with tempfile.TemporaryDirectory() as folder, Detector(package) as detector:
        graph = _written(package, Path(folder))
        next(iter(detector.detect_each(frames_of(address, options.fps))))
        stages = _stages_of(address, detector, options.fps) if options.stages else {}
        rounds = []
        for number in range(options.repeats):
            rounds.append(_round(address, detector, graph, options))
            print(f"round {number + 1}: {rounds[-1].ratio:.3f}  {rounds[-1]}", file=sys.stderr)
    figure = statistics.median(one.ratio for one in rounds)
    median = {
        name: round(statistics.median(getattr(one, name) for one in rounds), 3)
        for name in ("eye_ms", "decode_ms", "inference_ms")
    }
    if stages:
        print(f"the eye's own thread, core-ms per frame: {stages}", file=sys.stderr)
    if options.json:
        told = {"clip": clip.name, "model": options.model, "fps": options.fps, "live": options.live, **median}
        told |= {"stages_ms": stages}
        print(json.dumps({**told, "ratio": round(figure, 4), "bar": BAR, "rounds": [asdict(one) for one in rounds]}))
    print(
        f"pipeline: {median['eye_ms']:.2f} core-ms per analysed frame of {clip.name}; decode alone "
        f"{median['decode_ms']:.2f} + benchmark_app {median['inference_ms']:.2f}; ratio {figure:.3f} (bar {BAR})"
    )
    return 0 if figure <= BAR else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--model", default="nanodet-g-640x384")
    parser.add_argument("--models", type=Path, default=os.environ.get("VEILLEUR_MODEL_CACHE", ROOT / ".cache/models"))  # noqa: TID251 - a benchmark has no settings module
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=400, help="inferences of benchmark_app")
    parser.add_argument("--stages", action="store_true")
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--cameras", type=int, default=4, help="with --live")
    parser.add_argument("--seconds", type=float, default=20.0, help="with --live")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _round(address: Address, detector: Detector, graph: Path, options: argparse.Namespace) -> Round:
    decode_ms = _decode_ms(address, options.fps)
    eye_ms, frames = _live_ms(address, detector, options) if options.live else _eye_ms(address, detector, options.fps)
    return Round(eye_ms, decode_ms, _inference_ms(graph, options.frames), frames)


class Stages:
    """What one camera's frames go through once they are looked at, as in the agent."""

    def __init__(self, name: str, address: Address, fps: float, count_score: float) -> None:
        camera = Camera(id=name, insee="00000", source=address.text, fps=fps, loop=True, line=LINES)
        self._view = ViewWatch()
        self._pipeline = Pipeline(camera, count_score=count_score)
        self._windows = Windows(len(LINES), camera.label_set(), WINDOW_S, 1000 / fps)

    def watch(self, frame: RawFrame, detections: Detections) -> None:
        """Judge the view."""
        self._view.observe(frame, detections.boxes)

    def follow(self, frame: RawFrame, detections: Detections) -> Step:
        """Track and count."""
        return self._pipeline.step(frame, detections)

    def book(self, frame: RawFrame, step: Step) -> None:
        """Put into windows."""
        self._windows.observe(frame.at_ms)
        for crossing in step.crossings:
            self._windows.add(crossing)
        self._windows.close(frame.at_ms)

    def take(self, frame: RawFrame, detections: Detections) -> None:
        """Do all of it."""
        self.watch(frame, detections)
        self.book(frame, self.follow(frame, detections))


def _eye_ms(address: Address, detector: Detector, fps: float) -> tuple[float, int]:
    """Take every frame of the clip the whole way."""
    stages = Stages("one", address, fps, detector.card.thresholds.count)
    frames, began_s = 0, time.process_time()
    for frame, detections in detector.detect_each(frames_of(address, fps)):
        stages.take(frame, detections)
        frames += 1
    return (time.process_time() - began_s) / frames * 1000, frames


def _stages_of(address: Address, detector: Detector, fps: float) -> dict[str, float]:
    """Core-milliseconds per frame of the eye's own thread, by stage; OpenVINO's threads infer beside it."""
    stages = Stages("one", address, fps, detector.card.thresholds.count)
    spent_s = dict.fromkeys(("capture", "show", "answer", "view", "track and lines", "windows"), 0.0)
    begun: deque[Look] = deque()
    frames, at_s = 0, time.thread_time()

    def spend(stage: str) -> None:
        nonlocal at_s
        now_s = time.thread_time()
        spent_s[stage] += now_s - at_s
        at_s = now_s

    for frame in frames_of(address, fps):
        spend("capture")
        begun.append(detector.begin(frame))
        spend("show")
        if len(begun) < detector.in_flight:
            continue
        look = begun.popleft()
        found = look.result()
        spend("answer")
        stages.watch(look.frame, found)
        spend("view")
        step = stages.follow(look.frame, found)
        spend("track and lines")
        stages.book(look.frame, step)
        spend("windows")
        frames += 1
    for look in begun:
        look.abandon()
    return {stage: round(value / frames * 1000, 3) for stage, value in spent_s.items()}


def _live_ms(address: Address, detector: Detector, options: argparse.Namespace) -> tuple[float, int]:
    """Run the eye as the agent does, for a while."""
    scheduler, clock, frames = Scheduler(detector), SystemClock(), 0
    cameras = {
        name: Stages(name, address, options.fps, detector.card.thresholds.count)
        for name in (f"camera-{number}" for number in range(options.cameras))
    }
    with contextlib.ExitStack() as stack:
        for name in cameras:
            capture = Capture(name, address, fps=options.fps, clock=clock, loop=True, fresh=scheduler.wake)
            scheduler.add(stack.enter_context(capture), options.fps)
            # Spread over one period of the frame rate, as real cameras are.
            threading.Event().wait(1 / options.fps / options.cameras)
        began_s, end_s = time.process_time(), clock.elapsed_s() + options.seconds
        while clock.elapsed_s() < end_s:
            analysed = scheduler.next(0.1)
            if analysed is not None and analysed.detections is not None:
                cameras[analysed.frame.camera].take(analysed.frame, analysed.detections)
                frames += 1
        spent_s = time.process_time() - began_s
    scheduler.close()
    return spent_s / frames * 1000, frames


def _decode_ms(address: Address, fps: float) -> float:
    """Decode every picture of the clip and do nothing with it, on one thread as the eye does."""
    with av.open(address.text) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        pictures, began_s = 0, time.process_time()
        for packet in container.demux(stream):
            pictures += len(packet.decode())
        spent_s = time.process_time() - began_s
        return spent_s / (pictures / float(stream.average_rate or fps) * fps) * 1000


def _inference_ms(graph: Path, frames: int) -> float:
    return (_benchmark_app_s(graph, SHORT_RUN + frames) - _benchmark_app_s(graph, SHORT_RUN)) / frames * 1000


def _benchmark_app_s(graph: Path, frames: int) -> float:
    """Core-seconds of one run of OpenVINO's own benchmark, with the hints that the eye gives."""
    start = "from openvino.tools.benchmark.main import main; main()"
    command = [sys.executable, "-c", start, "-m", str(graph), "-d", "CPU"]
    command += ["-hint", "throughput", "-infer_precision", "f32", "-niter", str(frames)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _written(package: ModelPackage, folder: Path) -> Path:
    """Write the network as it is shipped, without the eye's preprocessing: benchmark_app reads files."""
    graph = folder / "model.xml"
    graph.write_bytes(package.xml)
    graph.with_suffix(".bin").write_bytes(package.weights)
    return graph


if __name__ == "__main__":
    sys.exit(main())
