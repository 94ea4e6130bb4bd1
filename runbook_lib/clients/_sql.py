"""Takes the literals out of SQL before anybody sees it: they hold customers' data and sometimes passwords."""

from __future__ import annotations

import re

# A literal that the server cut off at track_activity_query_size has no end: then all the rest belongs to it. So it
# does where one cannot tell the end: a comment in a comment, and a backslash before a quote, which is an escape or
# not by the session's standard_conforming_strings.
_LITERAL = re.compile(
    r"""
    (?P<comment>/\*(?:(?!/\*|\*/).)*(?:\*/|/\*.*\Z|\Z) | --[^\n]*)
  | (?P<escaped>[Ee]'(?:[^'\\]|''|\\.)*(?:'|\Z))
  | (?P<text>(?:[BbXxNn]|[Uu]&)?'(?:[^'\\]|''|\\(?!'))*(?:'|\\'.*\Z|\Z))
  | (?P<dollar>\$(?P<tag>[A-Za-z_\x80-\uffff]*)\$.*?(?:\$(?P=tag)\$|\Z))
  | (?P<quoted>"(?:[^"]|"")*(?:"|\Z))
  | (?P<name>\$\d+|[A-Za-z_\x80-\uffff][\w$]*)
  | (?P<number>(?:0[xXoObB][0-9a-fA-F_]+|\d[\d_]*\.?\d*(?:[eE][+-]?\d+)?|\.\d+))
    """,
    re.VERBOSE | re.DOTALL,
)


def without_literals(text: str, limit: int = 500) -> str:
    """One line of SQL with ``?`` in place of every literal, without comments, at most ``limit`` characters."""

    def replace(match: re.Match[str]) -> str:
        if match.lastgroup in {"name", "quoted"}:
            return match.group(0)
        return " " if match.lastgroup == "comment" else "?"

    line = " ".join(_LITERAL.sub(replace, text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
