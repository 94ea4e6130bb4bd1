"""Evidence as a pandas table, for whoever wants to look further by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook_lib.model import Evidence, Gap, Table

if TYPE_CHECKING:
    import pandas as pd


def frame(evidence: Evidence | Gap) -> pd.DataFrame:
    """The evidence's numbers as a table.

    Args:
        evidence: what a client answered.

    Returns:
        For series: one row a time (UTC index ``time``), one column a series, named by its labels or the query. For a
        table: its columns. For a document: columns ``field`` and ``value``. For a gap: an empty table.
    """
    import pandas as pd

    if isinstance(evidence, Gap):
        return pd.DataFrame()
    if isinstance(evidence.data, Table):
        return pd.DataFrame(list(evidence.table.rows), columns=list(evidence.table.columns))
    if not isinstance(evidence.data, tuple):
        return pd.DataFrame(list(evidence.document.items()), columns=["field", "value"])
    columns = {}
    for one in evidence.series:
        name = ", ".join(f"{key}={value}" for key, value in sorted(one.labels.items())) or evidence.name
        index = pd.to_datetime(list(one.times), unit="s", utc=True)
        columns[name] = pd.Series(list(one.values), index=index, dtype="float64")
    table = pd.DataFrame(columns).sort_index()
    table.index.name = "time"
    return table
