"""Throw a million inputs at every decoder of what comes from outside: nothing may come out but a value or a refusal.

    good bytes ─▶ libFuzzer, guided by what the code does ─▶ decoder ─▶ value · RejectedError        else: a crash
                                                               └─▶ resident memory, which must not grow

Each decoder runs in a process of its own. Records are re-encoded and compared, so that one value has one encoding.

python benchmarks/fuzz_codec.py [--inputs 1000000] [--only NAME]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve()
TESTS: Final = HERE.parents[1] / "tests"
sys.path.insert(0, str(TESTS))  # the decoders are those of the tests

GROWTH_MAX_MIB: Final = 64
"""Beyond what it held after the first tenth; libFuzzer keeps its own corpus of at most a few MiB in it."""
LENGTH_MAX: Final = 70_000
"""Beyond the longest that any decoder of the wire reads."""
SLOWEST_S: Final = 5
SLOW: Final = {
    "signatures": 0.2,
    "signed root": 0.2,
    "kept standing": 0.2,
    "site with sensors": 0.2,
    "site": 0.3,
    "audit checkpoint": 0.3,
    "audit part": 0.2,
    "privacy report": 0.2,
    "policy": 0.5,
}
"""Share of inputs of decoders that check signatures or read TOML, as against the others."""


def resident_mib() -> float:
    """Return the memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1_048_576


def fuzz(name: str, inputs: int, folder: str) -> None:
    """Run as a child: feed one decoder, then say what it came to as one JSON line, and end."""
    import atheris  # noqa: PLC0415 - it hooks imports, so it stays out of the parent

    with atheris.instrument_imports(include=["veilleur_contracts", "veilleur_fleet.judge", "tomllib"]):
        from decoders import decoders  # noqa: PLC0415 - instrumented as it is imported
        from veilleur_contracts.errors import RejectedError  # noqa: PLC0415 - the same class that the decoders raise
    decoder = next(one for one in decoders() if one.name == name)
    for number, seed in enumerate(decoder.seeds):
        (Path(folder) / f"seed-{number}").write_bytes(seed)
    done = accepted = 0
    warm_mib, began_s = 0.0, time.monotonic()

    def feed(data: bytes) -> None:
        nonlocal done, accepted, warm_mib
        done += 1
        try:
            decoder.decode(data)
            accepted += 1
        except RejectedError:
            pass
        if done == inputs // 10:
            warm_mib = resident_mib()
        if done >= inputs:
            took_s = time.monotonic() - began_s
            most_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            found = {"inputs": done, "accepted": accepted, "warm": warm_mib, "most": most_mib, "s": took_s}
            print("FOUND " + json.dumps(found), flush=True)
            os._exit(0)  # libFuzzer has no other way out that ends here

    options = [
        f"-max_len={LENGTH_MAX}",
        f"-timeout={SLOWEST_S}",
        "-rss_limit_mb=1024",
        "-len_control=20",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], folder, f"-artifact_prefix={folder}/crash-", *options], feed)
    atheris.Fuzz()


def run(name: str, inputs: int) -> dict[str, float] | str:
    """Fuzz one decoder in a process of its own; return its figures, or what it died of."""
    with tempfile.TemporaryDirectory(prefix="veilleur-fuzz-") as folder:
        command = [sys.executable, str(HERE), "--child", name, "--inputs", str(inputs), "--folder", folder]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in child.stdout.splitlines():
        if line.startswith("FOUND "):
            figures: dict[str, float] = json.loads(line.removeprefix("FOUND "))
            return figures
    return f"exit code {child.returncode}\n{child.stdout[-3000:]}\n{child.stderr[-3000:]}"


def shares(names: list[str], inputs: int) -> dict[str, int]:
    """Return how many inputs each decoder gets."""
    weight = sum(SLOW.get(name, 1.0) for name in names)
    return {name: 1 + int(inputs * SLOW.get(name, 1.0) / weight) for name in names}


def main() -> int:
    """Fuzz all, print one line each and the sum; return 1 when anything came out that may not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000, help="over all decoders together")
    parser.add_argument("--only", help="one decoder, by its name")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        fuzz(asked.child, asked.inputs, asked.folder)
        return 1
    from decoders import decoders  # noqa: PLC0415 - a child instruments it first

    names = [one.name for one in decoders() if asked.only in {None, one.name}]
    total, crashes, most_grown = 0, 0, 0.0
    for name, inputs in shares(names, asked.inputs).items():
        found = run(name, inputs)
        if isinstance(found, str):
            crashes += 1
            print(f"{name}: CRASHED: {found}")
            continue
        grown = found["most"] - found["warm"]
        total, most_grown = total + int(found["inputs"]), max(most_grown, grown)
        print(
            f"{name:20} {found['inputs']:>9,.0f} inputs, {found['accepted']:>8,.0f} accepted, {found['most']:5.0f} MiB"
            f" ({grown:+.1f}), {found['inputs'] / found['s']:,.0f}/s",
            flush=True,
        )
    is_fine = not crashes and most_grown <= GROWTH_MAX_MIB and total >= min(asked.inputs, 1_000_000)
    print(
        f"fuzz: {total:,} inputs over {len(names)} decoders, {crashes} crashes, memory grew by at most"
        f" {most_grown:.1f} MiB (bar {GROWTH_MAX_MIB}): {'ok' if is_fine else 'FAILED'}"
    )
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
