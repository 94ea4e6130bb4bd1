"""Datadog's log search syntax: a query to a test of one log line.

https://docs.datadoghq.com/logs/explorer/search_syntax/: words and ``"sequences"`` of the message, ``key:value`` for
reserved attributes and tags, ``@path:value`` for attributes, ``*:value`` for any of them; wildcards ``*`` and ``?``,
numbers as ``:>100`` and ``:[400 TO 499]``; ``AND``, ``OR``, ``NOT``, ``-``, parentheses. What the syntax has
besides (``CIDR()``, calculated fields), and a special character that is not escaped, is an error.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runbook_lib.lab.vendors.datadog_logs import Line

Test = Callable[["Line"], bool]

RESERVED = ("status", "service", "host")
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_RANGE = re.compile(r"\[\s*(\S+)\s+TO\s+(\S+?)\s*\]")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_SPECIAL = frozenset('+=&|><!{}[]^~"#')
_WORD = re.compile(r"\w+")


class SearchError(ValueError):
    """A search that Datadog would refuse, or that is outside the syntax answered here."""


@dataclass(frozen=True)
class _Value:
    """What is looked for: ``literal`` without wildcards, and the expression that a whole value must match."""

    literal: str
    expression: str
    wild: bool

    def equals(self, text: str, *, any_case: bool = False) -> bool:
        return re.fullmatch(self.expression, text, re.DOTALL | re.IGNORECASE * any_case) is not None

    def in_message(self, message: str) -> bool:
        """Words in their order, in any case and with anything but words between them; a wildcard spans one word or
        the message."""
        if self.wild:
            return any(self.equals(one, any_case=True) for one in (message, *_WORD.findall(message)))
        wanted, words = (_WORD.findall(one.casefold()) for one in (self.literal, message))
        starts = range(len(words) - len(wanted) + 1)
        return bool(wanted) and any(words[start : start + len(wanted)] == wanted for start in starts)


def parse(query: str) -> Test:
    """A query as the test that a line must pass.

    Raises:
        SearchError: it cannot be read, or is outside the syntax answered here.
    """
    # Curly quotation marks are no quotation marks in this syntax: they are passed over.
    parser = _Parser(re.sub("[\u201c\u201d]", " ", query))
    if parser.at_end():
        return lambda _line: True
    test = parser.union("")
    if not parser.at_end():
        raise SearchError(f"')' without '(' at character {parser.position + 1}")
    return test


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self.position = 0

    def at_end(self) -> bool:
        """Whether only white space is left."""
        self._skip()
        return self.position >= len(self._text)

    def union(self, key: str) -> Test:
        """Terms between ``OR``; ``key`` stands before a group of values, ``env:(prod OR test)``."""
        tests = [self._intersection(key)]
        while self._operator("OR"):
            tests.append(self._intersection(key))
        return tests[0] if len(tests) == 1 else lambda line: any(test(line) for test in tests)

    def _intersection(self, key: str) -> Test:
        tests = [self._term(key)]
        while self._operator("AND") or not (self.at_end() or self._text[self.position] == ")" or self._sees("OR")):
            tests.append(self._term(key))
        return tests[0] if len(tests) == 1 else lambda line: all(test(line) for test in tests)

    def _term(self, key: str) -> Test:
        if self._operator("NOT") or self._take("-"):
            wrong = self._term(key)
            return lambda line: not wrong(line)
        if self.at_end() or self._text[self.position] == ")" or self._sees("AND") or self._sees("OR"):
            raise SearchError(f"a term is missing at character {self.position + 1}")
        if self._take("("):
            return self._group(key)
        if key:
            return self._one_of(key)
        return self._word()

    def _group(self, key: str) -> Test:
        test = self.union(key)
        if self.at_end() or not self._take(")"):
            raise SearchError("'(' is not closed")
        return test

    def _word(self) -> Test:
        start = self.position
        value = self._value()
        if not self._take(":"):
            if self._text.startswith("(", self.position):
                raise SearchError(f"the function {value.literal}() is not answered here")
            return _everything if value.expression == ".*" else lambda line: value.in_message(line.message)
        key = self._text[start : self.position - 1]
        if self._text[start] == '"':
            raise SearchError(f"{key} cannot be a key")
        if self.position >= len(self._text) or self._text[self.position] in ") ":
            raise SearchError(f"{key!r} has no value")
        return self._group(key) if self._take("(") else self._one_of(key)

    def _one_of(self, key: str) -> Test:
        """One value of a key: a comparison, a range, or text."""
        if match := _RANGE.match(self._text, self.position):
            self.position = match.end()
            low, high = (_bound(end, key) for end in match.groups())
            return lambda line: any(low <= number <= high for number in _numbers(line, key))
        for sign, compare in _COMPARISONS.items():
            if self._take(sign):
                limit = _bound(self._value().literal, key)
                return lambda line: any(compare(number, limit) for number in _numbers(line, key))
        value = self._value()
        if key == "*":
            return lambda line: _anywhere(line, value)
        any_case = key in RESERVED
        return lambda line: any(value.equals(text, any_case=any_case) for text in _texts(line, key))

    def _value(self) -> _Value:
        if self._take('"'):
            return self._sequence()
        literal, expression, wild = "", "", False
        while self.position < len(self._text) and (character := self._text[self.position]) not in ' \t\n():"':
            escaped = character == "\\"
            if escaped:
                self.position += 1
                character = self._text[self.position : self.position + 1]
            elif character in _SPECIAL:
                raise self._unescaped(character)
            if character in "*?" and not escaped:
                wild, expression = True, expression + (".*" if character == "*" else ".")
            else:
                expression += re.escape(character)
            literal += character
            self.position += 1
        if not literal:
            raise self._unescaped(self._text[self.position])
        return _Value(literal, expression, wild)

    def _unescaped(self, character: str) -> SearchError:
        return SearchError(
            f"{character!r} at character {self.position + 1} must be escaped with a backslash, or quoted"
        )

    def _sequence(self) -> _Value:
        match = re.compile(r'((?:[^"\\]|\\.)*)"', re.DOTALL).match(self._text, self.position)
        if not match:
            raise SearchError("a quotation mark is not closed")
        self.position = match.end()
        literal = re.sub(r"\\(.)", r"\1", match[1])
        return _Value(literal, re.escape(literal), wild=False)

    def _skip(self) -> None:
        while self.position < len(self._text) and self._text[self.position].isspace():
            self.position += 1

    def _sees(self, word: str) -> bool:
        self._skip()
        return re.compile(rf"{word}(?=[\s()]|$)").match(self._text, self.position) is not None

    def _operator(self, word: str) -> bool:
        return self._sees(word) and self._take(word)

    def _take(self, text: str) -> bool:
        taken = self._text.startswith(text, self.position)
        self.position += len(text) if taken else 0
        return taken


def _everything(_line: Line) -> bool:
    return True


def _bound(text: str, key: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise SearchError(f"{key} can only be compared with a number, not {text!r}")
    return float(text)


def _texts(line: Line, key: str) -> Iterator[str]:
    """Every value that a line has under a key."""
    if key.startswith("@"):
        yield from (_text(one) for one in _under(line.attributes, key[1:]))
    elif key in RESERVED:
        yield str(getattr(line, key))
    elif key == "tags":
        yield from line.tags
    else:
        yield from (tag.partition(":")[2] for tag in line.tags if tag.partition(":")[0] == key)


def _under(value: Any, path: str) -> Iterator[Any]:
    """The leaves under a dotted path; of a list each member's."""
    if isinstance(value, list):
        for one in value:
            yield from _under(one, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key == path or path.startswith(f"{key}."):
                yield from _under(inner, path[len(key) + 1 :])


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _numbers(line: Line, key: str) -> Iterator[float]:
    yield from (float(text) for text in _texts(line, key) if _NUMBER.fullmatch(text))


def _anywhere(line: Line, value: _Value) -> bool:
    if value.in_message(line.message):
        return True
    texts = (*(str(getattr(line, key)) for key in RESERVED), *line.tags, *_leaves(line.attributes.values()))
    return any(value.equals(text, any_case=True) for text in texts)


def _leaves(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, dict | list):
            yield from _leaves(value.values() if isinstance(value, dict) else value)
        else:
            yield _text(value)
