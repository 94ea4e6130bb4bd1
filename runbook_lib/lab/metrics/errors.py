"""What can go wrong in the metrics store; each error knows how the HTTP API reports it."""

from __future__ import annotations

from runbook_lib.errors import LabError


class StoreError(LabError):
    """Base of the errors that the HTTP API answers with.

    Attributes:
        error_type: the API's ``errorType``.
        status: the HTTP status.
    """

    error_type = "internal"
    status = 500


class QueryError(StoreError):
    """The request or the query is wrong, or outside of the subset that the store evaluates."""

    error_type = "bad_data"
    status = 400


class EvaluationError(StoreError):
    """The query is well-formed but has no answer on the data, such as two series with the same labels."""

    error_type = "execution"
    status = 422


class QueryTimeoutError(StoreError):
    """The query took longer than allowed."""

    error_type = "timeout"
    status = 503


class ExpositionError(LabError):
    """A scraped page is not valid text format.

    Args:
        message: what is wrong.
        line_number: 1 for the first line.
    """

    def __init__(self, message: str, line_number: int) -> None:
        self.line_number = line_number
        super().__init__(f"line {line_number}: {message}")


class ConfigError(LabError):
    """The store's configuration file is wrong; the message names file and key."""
