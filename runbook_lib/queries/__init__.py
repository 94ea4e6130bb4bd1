"""Named questions as data: one file per source, checked against a schema when it is loaded."""

from runbook_lib.queries.load import PLACEHOLDERS, load, metric_names, parse
from runbook_lib.queries.query import Query, QueryParameter

__all__ = ["PLACEHOLDERS", "Query", "QueryParameter", "load", "metric_names", "parse"]
