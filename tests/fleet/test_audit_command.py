"""``veilleur-fleet audit``: a table, a verdict, an exit code; and a witness that refuses what shrank."""

import pytest
from typer.testing import CliRunner

from audit_builders import (
    DPO_KEYS,
    LOG,
    ORIGIN,
    chained,
    changed_entry,
    happenings,
    head_of,
    write_bundles,
    write_log,
    write_tiles,
)
from veilleur_contracts.audit import ClockJumped
from veilleur_contracts.notes import read_checkpoint, read_verifier
from veilleur_fleet.audit import audit_app
from veilleur_fleet.keys import make_key


def run(*words, succeeds=True, **env) -> str:
    done = CliRunner().invoke(audit_app, [str(word) for word in words], env={"COLUMNS": "300", **env})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == (0 if succeeds else 1), done.output
    return done.output


@pytest.fixture
def log(tmp_path):
    folder = tmp_path / "audit"
    write_log(folder, chained(happenings(300)), [100, 300])
    return folder


def test_a_whole_log_is_said_to_be_whole(log) -> None:
    said = run("verify", log, "--key", log / "key")
    assert "whole, and signed to the end" in said
    assert "300, kept from 0" in said
    assert ORIGIN in said
    assert run("verify", log, "--key", LOG)


def test_entries_not_signed_yet_are_told(tmp_path) -> None:
    write_log(tmp_path / "a", chained(happenings(9)), [4])
    assert "last 5 entries" in run("verify", tmp_path / "a", "--key", LOG)


def test_the_first_bad_entry_is_named_with_exit_code_1(log) -> None:
    forged = chained(happenings(300))
    forged[137] = changed_entry(forged[137], what=ClockJumped(-3))
    write_bundles(log, forged)
    said = run("verify", log, "--key", LOG, succeeds=False)
    assert "edited at 137" in said
    assert "the first bad entry is 137 (edited)" in said
    assert "not whole" in said


def test_a_fork_is_bounded_by_a_checkpoint_and_placed_by_a_copy(log, tmp_path) -> None:
    honest = chained(happenings(300))
    write_log(tmp_path / "copy", honest)
    (tmp_path / "seen").write_bytes(head_of(honest, 300))
    forged = chained([ClockJumped(-1), *happenings(180, mark=2)], after=honest[:150])
    write_bundles(log, forged)
    write_tiles(log, forged)
    (log / "checkpoints" / f"{300:015d}-20260501").unlink()
    assert "last 231 entries" in run("verify", log, "--key", LOG)
    said = run("verify", log, "--key", LOG, "--checkpoint", tmp_path / "seen", succeeds=False)
    assert "one of 100 to 299 (forked)" in said
    words = ("--checkpoint", tmp_path / "seen", "--copy", tmp_path / "copy")
    assert "the first bad entry is 150 (forked)" in run("verify", log, "--key", LOG, *words, succeeds=False)


def test_half_an_entry_is_told(log) -> None:
    bundle = log / "tile" / "entries" / "001"
    bundle.write_bytes(bundle.read_bytes() + b"\x01")
    assert "1 bytes at the end" in run("verify", log, "--key", LOG)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("verify", "{log}", "--key", "nothing"), "cannot read nothing", id="no-key-file"),
        pytest.param(("verify", "{log}", "--key", "a+b+c"), "NAME+ID+BASE64", id="no-key"),
        pytest.param(("verify", "{log}/tile", "--key", "{log}/key"), "holds no audit log", id="no-log"),
        pytest.param(
            ("verify", "{log}", "--key", "{log}/key", "--checkpoint", "gone"), "cannot read gone", id="no-checkpoint"
        ),
        pytest.param(("verify", "{log}", "--key", "{log}/key", "--copy", "gone"), "holds no audit log", id="no-copy"),
    ],
)
def test_a_mistake_is_one_sentence(log, words, said) -> None:
    assert said in run(*(word.format(log=log) for word in words), succeeds=False)


class Witness:
    """A DPO with a key of their own and what they saw last."""

    def __init__(self, folder) -> None:
        self.folder = folder
        (folder / "pass").write_text("trois petits mots longs\n", encoding="utf-8")
        (folder / "pass").chmod(0o600)
        make_key(folder / "witness.pem", "DPO", "trois petits mots longs")

    def cosign(self, log, *, succeeds=True) -> str:
        words = ("cosign", log, "--key", LOG, "--name", "dpo-ville", "--with", self.folder / "witness.pem")
        more = ("--seen", self.folder / "seen", "--passphrase-file", self.folder / "pass")
        return run(*words, *more, succeeds=succeeds)


def test_a_witness_cosigns_what_grew(log, tmp_path) -> None:
    witness = Witness(tmp_path)
    said = witness.cosign(log)
    key = said.strip().splitlines()[-1]
    assert "300 entries cosigned" in said
    head = read_checkpoint((tmp_path / "seen").read_bytes(), LOG, [read_verifier(key)])
    assert set(head.witnesses) == {"dpo-ville"}
    write_log(log, chained(happenings(400)), [100, 300, 400])
    assert "400 entries" in witness.cosign(log)
    told = run("verify", log, "--key", LOG, "--witness", key, "--checkpoint", tmp_path / "seen")
    assert "witness dpo-ville" in told
    assert "up to 400" in told
    other = f"{tmp_path / 'other'}"
    (tmp_path / "other").write_text(key, encoding="utf-8")
    assert "up to 400" in run("verify", log, "--key", LOG, "--witness", other, "--checkpoint", tmp_path / "seen")


@pytest.mark.parametrize("size", [250, 420])
def test_a_witness_refuses_a_log_that_is_not_the_one_it_saw(log, tmp_path, size) -> None:
    witness = Witness(tmp_path)
    witness.cosign(log)
    before = (tmp_path / "seen").read_bytes()
    other = chained(happenings(size - 200, mark=5), after=chained(happenings(300))[:200])
    for path in (log / "checkpoints").iterdir():
        path.unlink()
    write_log(log, other, [size])
    assert "nothing was cosigned" in witness.cosign(log, succeeds=False)
    assert (tmp_path / "seen").read_bytes() == before


def test_a_witness_needs_a_checkpoint(tmp_path) -> None:
    write_log(tmp_path / "audit", chained(happenings(3)))
    assert "no checkpoint yet" in Witness(tmp_path).cosign(tmp_path / "audit", succeeds=False)


def test_unknown_witnesses_are_said_to_have_signed_nothing(log) -> None:
    key = read_verifier(str(LOG))
    assert key == LOG
    assert DPO_KEYS
    said = run(
        "verify", log, "--key", LOG, "--witness", "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
    )
    assert "has cosigned nothing here" in said
