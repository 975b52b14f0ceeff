"""What the repository holds is text that somebody wrote: no weights, footage or bundles."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LARGEST_BYTES = 1 << 20


def test_no_tracked_file_is_larger_than_a_text_that_somebody_wrote() -> None:
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed, so nobody says what is tracked")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this copy of the sources is no git checkout")
    tracked = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert len(tracked) > 500
    assert [path.name for path in tracked if path.is_file() and path.stat().st_size > LARGEST_BYTES] == []
