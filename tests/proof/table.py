"""One table of everything that was proven, control rows included: what ``make proof`` prints last."""

from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was tried.

    Attributes:
        proof: Which proof it belongs to.
        tried: What was tried.
        must: What has to come of it.
        was: What came of it.
        holds: Whether that is so.
        is_control: It shows that the proof can fail.
    """

    proof: str
    tried: str
    must: str
    was: str
    holds: bool
    is_control: bool = False


@dataclass(slots=True)
class Proofs:
    """The rows of one run."""

    rows: list[Row] = field(default_factory=list)

    def check(self, proof: str, tried: str, *, must: str, was: object, holds: bool, control: bool = False) -> None:
        """Write a row down, and fail where it does not hold."""
        self.rows.append(Row(proof, tried, must, str(was), holds, control))
        assert holds, f"{proof}: {tried}: must {must}, was {was}"

    def show(self, console: Console) -> None:
        table = Table("proof", "tried", "must", "was", "", title="What was proven (c: a control, which must be found)")
        for row in self.rows:
            verdict = "ok" if row.holds else "FAILED"
            table.add_row(row.proof, row.tried, row.must, row.was, f"{verdict} c" if row.is_control else verdict)
        console.print(table)
        failed = sum(not row.holds for row in self.rows)
        controls = sum(row.is_control for row in self.rows)
        console.print(f"proof: {len(self.rows)} rows, {controls} of them controls, {failed} failed")
