"""Arrays of one length that gain and lose rows together."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt


@dataclass(slots=True)
class Rows:
    """A table whose columns are the dataclass fields of a subclass, each an array with one row per thing."""

    def keep(self, mask: npt.NDArray[np.bool_]) -> None:
        """Forget the rows where ``mask`` is false."""
        for column in fields(self):
            setattr(self, column.name, getattr(self, column.name)[mask])

    def chosen(self, places: npt.NDArray[np.intp]) -> Self:
        """Return the rows at ``places`` as a table of their own."""
        return type(self)(**{column.name: getattr(self, column.name)[places] for column in fields(self)})

    def append(self, other: Self) -> None:
        """Add the rows of ``other`` at the end."""
        for column in fields(self):
            setattr(self, column.name, np.concatenate([getattr(self, column.name), getattr(other, column.name)]))
