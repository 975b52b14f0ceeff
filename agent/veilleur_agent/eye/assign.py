"""Pair rows with columns at the least total cost, or leave a row alone where every pair would cost too much.

Exact: shortest augmenting paths on the reduced costs (Jonker and Volgenant 1987, in the form of Crouse 2016), one row
at a time, started from the rows whose cheapest column nobody else wants. In a street nearly all are such rows, so the
search runs for the few that compete.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Costs = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
_FREE: Final = -1


def assign(costs: Costs, most: float) -> tuple[Places, Places]:
    """Choose the pairs whose costs, with ``most`` for each row left alone, sum to the least.

    Args:
        costs: float64, shape ``(n, m)``, finite or +inf where a pair is impossible.
        most: Cost of leaving a row alone, finite; no pair dearer than it is ever chosen.

    Returns:
        Rows and their columns, intp, both of shape ``(k,)``, rows rising.
    """
    rows, columns = costs.shape
    if rows == 0 or columns == 0:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    # One last column stands for "alone": it is never used up, so it keeps the price 0 for ever.
    full = np.full((rows, columns + 1), most)
    full[:, :columns] = costs
    every = np.arange(rows)
    best = full.argmin(axis=1)
    least = full[every, best]
    row_of = np.full(columns + 1, _FREE)
    order = np.argsort(-least, kind="stable")
    row_of[best[order]] = order
    column_of = np.where((best == columns) | (row_of[best] == every), best, _FREE)
    waiting = (column_of == _FREE).nonzero()[0]
    if waiting.size:
        prices = np.zeros(columns + 1)
        for row in waiting.tolist():
            _augment(row, full, least, prices, row_of=row_of, column_of=column_of)
    paired = (column_of < columns).nonzero()[0]
    return paired, column_of[paired]


def assign_pairs(rows: Places, columns: Places, costs: Costs, most: float) -> tuple[Places, Places]:
    """Choose as ``assign`` does, given the possible pairs alone.

    Two who can only have each other are paired at once; the search is among the others.

    Args:
        rows: intp, shape ``(p,)``: the row of each possible pair.
        columns: The same of its column; no pair is told twice.
        costs: float64, shape ``(p,)``, +inf where it is impossible after all.
        most: Cost of leaving a row alone, finite.

    Returns:
        Rows and their columns, intp, both of shape ``(k,)``.
    """
    cheap = (costs <= most).nonzero()[0]
    if not cheap.size:
        return cheap, cheap
    rows, columns, costs = rows[cheap], columns[cheap], costs[cheap]
    contested = (np.bincount(rows)[rows] > 1) | (np.bincount(columns)[columns] > 1)
    if not contested.any():
        return rows, columns
    among, theirs = rows[contested], columns[contested]
    some_rows, some_columns = np.bincount(among).nonzero()[0], np.bincount(theirs).nonzero()[0]
    table = np.full((len(some_rows), len(some_columns)), np.inf)
    table[some_rows.searchsorted(among), some_columns.searchsorted(theirs)] = costs[contested]
    chosen, given = assign(table, most)
    alone = ~contested
    return (
        np.concatenate([rows[alone], some_rows[chosen]]),
        np.concatenate([columns[alone], some_columns[given]]),
    )


def _augment(row: int, full: Costs, worth: Costs, prices: Costs, *, row_of: Places, column_of: Places) -> None:
    """Give ``row`` a column by the cheapest chain of exchanges; keeps the reduced costs non-negative."""
    alone = full.shape[1] - 1
    far = full[row] - worth[row] - prices
    came_from = np.full(alone + 1, row)
    open_far = far.copy()
    chain: list[int] = []
    while True:
        column = int(open_far.argmin())
        length = float(open_far[column])
        if column == alone or row_of[column] == _FREE:
            break
        chain.append(column)
        open_far[column] = np.inf
        other = int(row_of[column])
        through = length + full[other] - worth[other] - prices
        nearer = through < open_far
        nearer[chain] = False
        far[nearer] = open_far[nearer] = through[nearer]
        came_from[nearer] = other
    worth[row] += length
    for passed in chain:
        prices[passed] -= length - far[passed]
        worth[row_of[passed]] += length - far[passed]
    while True:
        giver = int(came_from[column])
        given, column_of[giver] = int(column_of[giver]), column
        if column != alone:
            row_of[column] = giver
        if giver == row:
            return
        column = given
