"""Attackers who train on redacted pictures learn nothing from what ships, and read what must not ship."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from veilleur_agent.eye.planes import planes_of
from veilleur_agent.eye.redact import FILL

pytest.importorskip("sklearn", reason="the attackers come with scikit-learn, of the extra 'models'")

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("attack", ROOT / "benchmarks" / "attack.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_fill_is_at_chance_and_the_controls_are_read(bench) -> None:
    rows = bench.attack(bench.every_way())
    assert {row.way: row.passed for row in rows} == dict.fromkeys([row.way for row in rows], True)
    assert {row.role for row in rows} == {"shipped", "control", "told"}
    read = {row.way: row.accuracy for row in rows}
    assert read["nothing done"] > 0.9
    assert 0.1 < rows[0].bound < 0.14


def test_a_fill_that_forgets_the_colour_planes_would_be_noticed(bench) -> None:
    def light_alone(crop: np.ndarray) -> np.ndarray:
        i420 = crop.copy()
        planes_of(i420)[0][:] = FILL[0]
        return i420

    (row,) = bench.attack([bench.Way("light alone", "shipped", light_alone)])
    assert row.accuracy > 0.8
    assert not row.passed
