"""No literal of a statement survives, whatever it holds and wherever the server cut it off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.clients._sql import without_literals


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("SELECT * FROM orders WHERE id = 42", "SELECT * FROM orders WHERE id = ?"),
        ("SELECT 'it''s', E'a\\'b', $1", "SELECT ?, ?, $1"),
        ("SELECT $$body$$, $tag$it's $$ here$tag$", "SELECT ?, ?"),
        ("ALTER ROLE app PASSWORD 'canary'", "ALTER ROLE app PASSWORD ?"),
        ('SELECT "Col 1", t2.c3 FROM "t 2"', 'SELECT "Col 1", t2.c3 FROM "t 2"'),
        ("SELECT 1.5e-3, .5, 0xFF, 1_000 -- canary\n/* canary */ FROM t1", "SELECT ?, ?, ?, ? FROM t1"),
        ("UPDATE t SET a = 'cut off in the midd", "UPDATE t SET a = ?"),
        ("SELECT $x$ cut off", "SELECT ?"),
        ("SELECT /* cut off canary", "SELECT"),
        ("SELECT U&'d\\0061t', B'01', X'1F', N'x'", "SELECT ?, ?, ?, ?"),
        ("SELECT a\n  FROM\tb", "SELECT a FROM b"),
        ("SELECT 'a\\' , 'canary'", "SELECT ?"),
        ("SELECT 'C:\\dir' , 'canary'", "SELECT ? , ?"),
        ("SELECT /* a /* b */ canary */ c", "SELECT"),
    ],
)
def test_literals_become_question_marks(statement, shown):
    """Names, keywords and parameters stay; data goes."""
    assert shown == without_literals(statement)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.integers(0, 200))
def test_quoted_text_never_survives(value, cut):
    """A secret inside a quoted text is gone, also when the statement is cut off in the middle of it."""
    quoted = value.replace("'", "''")
    statement = f"SELECT a FROM t WHERE b = '{quoted}' AND c = '{quoted}canary{quoted}' AND d = 1"[: 40 + cut]
    shown = without_literals(statement)
    assert "canary" not in shown
    assert shown.startswith("SELECT a FROM t WHERE b = ?")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_anything_is_one_short_line(statement):
    """Whatever is not SQL at all is still one line of bounded length."""
    shown = without_literals(statement, limit=100)
    assert len(shown) <= 100
    assert "\n" not in shown


def test_long_statement_ends_with_an_ellipsis():
    """A statement that is longer than the limit says that it goes on."""
    assert without_literals("SELECT " + "a, " * 400, limit=50).endswith("…")
