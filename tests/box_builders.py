"""Small worlds for the tests of box, link and mouth: a clock that obeys, and records that are easy to tell apart."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from veilleur_contracts.messages import CameraHealth, Context, CrossingWindow


class HandClock:
    """A clock that moves only when told."""

    def __init__(self, at_ms: int = 1_700_000_000_000) -> None:
        self.at_ms = at_ms
        self.at_s = 0.0

    def now_ms(self) -> int:
        return self.at_ms

    def elapsed_s(self) -> float:
        return self.at_s

    def advance(self, seconds: float) -> None:
        self.at_s += seconds
        self.at_ms += round(seconds * 1000)


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """Have the kernel refuse to let any file of this process grow beyond ``size``, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def a_context(camera: str = "gare") -> Context:
    return Context(camera, "30189", "0" * 16, "1" * 16, "2" * 16, (0, 1), ("kerb",), ())


def a_window(n: int, context: int = 1) -> CrossingWindow:
    """A statistic whose start tells it from every other."""
    return CrossingWindow(context, n, 5, 0, 100, 50, 0, (n % 900, 0, 0, 0))


def a_health(n: int, camera: str = "gare") -> CameraHealth:
    return CameraHealth(camera, n, 1, 50, 0, n % 900)
