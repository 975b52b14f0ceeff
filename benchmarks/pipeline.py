"""Core-seconds the eye spends per analysed frame, against the least that decoding and inference alone cost.

    .venv/bin/python benchmarks/pipeline.py [--clip FILE] [--fps 5] [--model NAME] [--repeats 5] [--json]

              the eye: capture ─▶ detect ─▶ track ─▶ lines                       core-seconds per analysed frame
    ratio = ────────────────────────────────────────────────
              decode alone (every picture) + OpenVINO's benchmark_app            the same, measured in the same run

Core-seconds are those of the process, all its threads (the kernel's count), so the figure hardly depends on what else
the machine does. The three are measured in turn, again and again, and the median ratio is the figure. benchmark_app is
run twice each time, short and long; the difference is inference without its start. ``--live`` measures the eye as the
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
from dataclasses import asdict, dataclass
from pathlib import Path

import av

from veilleur_agent.eye.address import Address, address_of
from veilleur_agent.eye.capture import Capture, frames_of
from veilleur_agent.eye.detect import Detector
from veilleur_agent.eye.pipeline import Pipeline
from veilleur_agent.eye.scheduler import Scheduler
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.site import Camera, Line
from veilleur_models.package import ModelPackage, load

ROOT = Path(__file__).parents[1]
BAR = 1.15
SHORT_RUN = 50
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
        rounds = []
        for number in range(options.repeats):
            rounds.append(_round(address, detector, graph, options))
            print(f"round {number + 1}: {rounds[-1].ratio:.3f}  {rounds[-1]}", file=sys.stderr)
    figure = statistics.median(one.ratio for one in rounds)
    median = {
        name: round(statistics.median(getattr(one, name) for one in rounds), 3)
        for name in ("eye_ms", "decode_ms", "inference_ms")
    }
    if options.json:
        told = {"clip": clip.name, "model": options.model, "fps": options.fps, "live": options.live, **median}
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
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--cameras", type=int, default=4, help="with --live")
    parser.add_argument("--seconds", type=float, default=20.0, help="with --live")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _round(address: Address, detector: Detector, graph: Path, options: argparse.Namespace) -> Round:
    decode_ms = _decode_ms(address, options.fps)
    eye_ms, frames = _live_ms(address, detector, options) if options.live else _eye_ms(address, detector, options.fps)
    return Round(eye_ms, decode_ms, _inference_ms(graph, options.frames), frames)


def _camera(name: str, address: Address, fps: float) -> Camera:
    return Camera(id=name, insee="00000", source=address.text, fps=fps, loop=True, line=LINES)


def _eye_ms(address: Address, detector: Detector, fps: float) -> tuple[float, int]:
    """Take every frame of the clip the whole way."""
    pipeline = Pipeline(_camera("one", address, fps), count_score=detector.card.thresholds.count)
    frames, began_s = 0, time.process_time()
    for frame, detections in detector.detect_each(frames_of(address, fps)):
        pipeline.step(frame, detections)
        frames += 1
    return (time.process_time() - began_s) / frames * 1000, frames


def _live_ms(address: Address, detector: Detector, options: argparse.Namespace) -> tuple[float, int]:
    """Run the eye as the agent does, for a while."""
    scheduler, clock, frames = Scheduler(detector), SystemClock(), 0
    pipelines = {
        name: Pipeline(_camera(name, address, options.fps), count_score=detector.card.thresholds.count)
        for name in (f"camera-{number}" for number in range(options.cameras))
    }
    with contextlib.ExitStack() as stack:
        for name in pipelines:
            capture = Capture(name, address, fps=options.fps, clock=clock, loop=True, fresh=scheduler.wake)
            scheduler.add(stack.enter_context(capture), options.fps)
            # Spread over one period of the frame rate, as real cameras are.
            threading.Event().wait(1 / options.fps / options.cameras)
        began_s, end_s = time.process_time(), clock.elapsed_s() + options.seconds
        while clock.elapsed_s() < end_s:
            analysed = scheduler.next(0.1)
            if analysed is not None and analysed.detections is not None:
                pipelines[analysed.frame.camera].step(analysed.frame, analysed.detections)
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
