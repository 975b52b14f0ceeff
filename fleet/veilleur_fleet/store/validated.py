"""Ask the store how well the labels of cameras are counted, as far as somebody has measured."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from veilleur_contracts.messages import Label
from veilleur_fleet.interval import Factors
from veilleur_fleet.store.tables import validations

FactorsOf = Mapping[Label, Factors]
"""Of the labels of one camera that somebody has validated."""


def factors_of(connection: sa.Connection, camera_nos: Collection[int]) -> dict[int, dict[Label, Factors]]:
    """Return, for each of ``camera_nos`` that has any, the factors of its labels."""
    found: dict[int, dict[Label, Factors]] = {}
    for row in connection.execute(sa.select(validations).where(validations.c.camera_no.in_(camera_nos))):
        of_camera = found.setdefault(row.camera_no, {})
        of_camera[Label(row.label_no)] = Factors(row.recall, row.precision, row.crossings)
    return found
