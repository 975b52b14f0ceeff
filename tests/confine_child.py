"""A process of its own for the tests of confinement: confine as asked, do one thing, print what came of it as JSON.

python -P confine_child.py '{"profile": "eye", "steps": ["trials"], …}'
"""

# ruff: noqa: PLC0415 - libraries are imported after confinement: that they can be is what is tested

import json
import sys
from pathlib import Path

from veilleur_agent.confine.code import running_code
from veilleur_agent.confine.process import Measured, apply
from veilleur_agent.confine.profiles import (
    EYE_PACKAGES,
    MOUTH_PACKAGES,
    Confinement,
    eye_confinement,
    mouth_confinement,
)


def confinement_of(asked: dict) -> Confinement:
    own, others = [Path(path) for path in asked["own"]], [Path(path) for path in asked["others"]]
    read_only = [Path(path) for path in asked["read_only"]]
    if asked["profile"] == "eye":
        return eye_confinement(
            running_code(EYE_PACKAGES),
            read_only=read_only,
            read_write=own,
            camera_ports=asked["ports"],
            forbidden_paths=others,
        )
    return mouth_confinement(
        running_code(MOUTH_PACKAGES), read_only=read_only, read_write=own, ports=asked["ports"], forbidden_paths=others
    )


def trials(_asked: dict, confinement: Confinement, measured: Measured) -> object:
    from veilleur_agent.confine.report import encode_report, report_of

    return encode_report(report_of(measured, confinement)).hex()


def threads(*_: object) -> object:
    """How many numbers a pool of threads squares."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda number: number**2, range(8)))


def count(asked: dict, *_: object) -> object:
    """Load a model, decode a clip and detect in it, as the eye does: boxes and labels of every chosen frame."""
    from veilleur_models.quiet import silence_telemetry

    silence_telemetry()
    from veilleur_agent.eye.address import address_of
    from veilleur_agent.eye.capture import frames_of
    from veilleur_agent.eye.detect import Detector
    from veilleur_models.package import load

    found = []
    with Detector(load(Path(asked["model"]))) as detector:
        for frame, detections in detector.detect_each(frames_of(address_of(asked["clip"]), asked["fps"])):
            labels = [int(label) for label in detections.labels]
            found.append([frame.number, labels, [[round(float(side), 4) for side in box] for box in detections.boxes]])
            if len(found) == asked["frames"]:
                break
    return found


def connect_camera(asked: dict, *_: object) -> object:
    """Let PyAV open ``rtsp://`` on the allowed port, where nobody answers, and on another; the error numbers."""
    import av

    met = []
    for port in (asked["ports"][0], asked["elsewhere"]):
        try:
            av.open(f"rtsp://127.0.0.1:{port}/x", options={"rtsp_transport": "tcp"}, timeout=5).close()
            met.append(0)
        except OSError as error:
            met.append(error.errno)
    return met


def speak(asked: dict, *_: object) -> object:
    """Publish to a broker through aiomqtt, on the loop that was made before confinement, and hear it back."""
    import asyncio

    import aiomqtt

    async def there_and_back() -> list[str]:
        async with aiomqtt.Client("127.0.0.1", asked.get("speak_to", asked["ports"][0]), timeout=10) as client:
            await client.subscribe("trial/#", qos=1)
            await client.publish("trial/one", b"hello", qos=1)
            async for message in client.messages:
                return [str(message.topic), bytes(message.payload).decode()]
        return []

    with asyncio.Runner(loop_factory=lambda: asked["loop"]) as runner:
        return runner.run(asyncio.wait_for(there_and_back(), 20))


def store(asked: dict, *_: object) -> object:
    """Write an outbox as the mouth does: SQLite, write-ahead log, synchronous to disk."""
    import sqlite3

    with sqlite3.connect(Path(asked["own"][0]) / "outbox.db") as base:
        mode = base.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        base.execute("PRAGMA synchronous=FULL")
        base.execute("CREATE TABLE IF NOT EXISTS record (number INTEGER PRIMARY KEY, bytes BLOB)")
        base.execute("INSERT INTO record (bytes) VALUES (?)", (b"x" * 100,))
        base.commit()
        return [mode, base.execute("SELECT COUNT(*) FROM record").fetchone()[0]]


def imports(asked: dict, *_: object) -> object:
    """What importing each of the named libraries raises, with our own finder in the way and without it."""
    return [_errors_of(asked["libraries"]), _errors_of(asked["libraries"], without_finder=True)]


def _errors_of(names: list[str], *, without_finder: bool = False) -> list[str]:
    if without_finder:
        sys.meta_path[:] = [one for one in sys.meta_path if type(one).__name__ != "OnlyNamed"]
    errors = []
    for name in names:
        try:
            __import__(name)
            errors.append("")
        except Exception as error:  # noqa: BLE001 - whatever it is, is what the test asks
            errors.append(type(error).__name__)
    return errors


def opens(asked: dict, *_: object) -> object:
    """What opening each of the named files to read raises."""
    errors = []
    for name in asked["files"]:
        try:
            with Path(name).open("rb") as file:
                file.read(1)
            errors.append("")
        except OSError as error:
            errors.append(type(error).__name__)
    return errors


def asks(*_: object) -> object:
    """Facts about this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    wanted = {"CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp", "Uid"}
    return {name: value.split() for name, _, value in (line.partition(":") for line in status) if name in wanted}


def times(*_: object) -> object:
    """Nanoseconds of one ``getppid`` call, the cheapest there is, over many."""
    import os
    import time

    turns = 200_000
    start = time.perf_counter_ns()
    for _turn in range(turns):
        os.getppid()
    return (time.perf_counter_ns() - start) / turns


STEPS = {
    step.__name__: step for step in (trials, threads, count, connect_camera, speak, store, imports, opens, asks, times)
}


def main() -> None:
    asked = json.loads(sys.argv[1])
    if "speak" in asked["steps"]:
        import asyncio

        asked["loop"] = asyncio.new_event_loop()
    confinement = confinement_of(asked)
    measured = apply(confinement) if asked["confined"] else Measured(0, 0, ())
    answer = {step: STEPS[step](asked, confinement, measured) for step in asked["steps"]}
    answer["measured"] = [measured.landlock_version, measured.filter_instructions, list(measured.missing)]
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
