"""The people who sign, as they work: with the commands of ``veilleur-fleet policy``, key by key and file by file."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from typer.testing import CliRunner

from veilleur_contracts.clock import SystemClock, datetime_of
from veilleur_fleet.policy import policy_app

PASSPHRASE = "four words nobody knows"  # noqa: S105 - of keys that live as long as a test
EVERYBODY = ("controller", "operator", "dpo-ville")
SIGNERS = ("root-a", "root-b", "root-c", "controller", "operator", "dpo-ville", "dpo-agglo")


class CityHall:
    """A folder with everybody's key, the signed root, and what they write."""

    def __init__(self, folder: Path, *, with_fleet: bool = False) -> None:
        self.folder = folder
        self.passphrase = self._passphrase = folder / "passphrase"
        self._passphrase.write_text(f"{PASSPHRASE}\n", encoding="utf-8")
        self._passphrase.chmod(0o600)
        signers = (*SIGNERS, *(("fleet",) if with_fleet else ()))
        for name in signers:
            self._run("key", "new", folder / f"{name}.pem", "--holder", name, "--passphrase-file", self._passphrase)
        public = [f"--public={role_of(name)}={folder / name}.pub" for name in signers]
        self._run("new", folder / "root.toml", "--kind", "root", *public)
        self.root = self._signed(folder / "root.toml", ("root-a", "root-b"))

    def policy(
        self,
        version: int,
        *,
        signers: Sequence[str] = EVERYBODY,
        cameras: Sequence[str] = ("avenue",),
        changes: Sequence[tuple[str, str]] = (),
        days: tuple[int, int] = (0, 90),
    ) -> Path:
        """Write a policy from the template, change lines of it, and have it signed; return the signed file.

        ``days`` is from when to when it holds, counted from now.
        """
        draft = self.folder / f"policy-{version}-{len(list(self.folder.glob('policy-*')))}.toml"
        self._run("new", draft)
        issued, expires = (stamp(timedelta(days=day)) for day in days)
        listed = "\n".join(f'[[cameras]]\nid = "{one}"\nmasks = []\n' for one in cameras)
        text = draft.read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if not line.startswith(("issued", "expires", "version"))]
        text = "\n".join([f"version = {version}", f"issued = {issued}", f"expires = {expires}", *lines])
        head, _, rest = text.partition("[[cameras]]")
        text = head + listed + "\n[[visas]]" + rest.partition("[[visas]]")[2]
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        text = text.replace("n° … du …", "n° 42 du 4 mai").replace("n° …", "n° 43")
        draft.write_text(text, encoding="utf-8")
        return self._signed(draft, signers)

    def stop(self, signer: str = "dpo-ville") -> Path:
        draft = self.folder / f"stop-{len(list(self.folder.glob('stop-*.toml')))}.toml"
        self._run("new", draft, "--kind", "stop")
        text = draft.read_text(encoding="utf-8")
        draft.write_text(text.replace('reason = "…"', 'reason = "Une plainte est à instruire."'), encoding="utf-8")
        return self._signed(draft, (signer,))

    def _signed(self, draft: Path, signers: Sequence[str]) -> Path:
        file = draft
        for name in signers:
            key = self.folder / f"{name}.pem"
            words = ("sign", file, "--role", role_of(name), "--key", key, "--passphrase-file", self._passphrase)
            self._run(*words)
            file = draft.with_suffix(".json")
        return file

    def _run(self, *words: object) -> None:
        done = CliRunner().invoke(policy_app, [str(word) for word in words], env={"COLUMNS": "300"})
        assert done.exit_code == 0, done.output


def role_of(name: str) -> str:
    return "root" if name.startswith("root") else name


def stamp(ahead: timedelta) -> str:
    """Return a moment by the real clock, which real boxes look at."""
    return (datetime_of(SystemClock().now_ms()) + ahead).strftime("%Y-%m-%dT%H:%M:%SZ")
