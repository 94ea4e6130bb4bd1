"""The rules that every notebook keeps: its shape, and what must never stand in one."""

from __future__ import annotations

import ast
import json
import re
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.authoring import language
from runbook_lib.errors import NotebookError
from runbook_lib.headless.parameters import Parameters
from runbook_lib.secrets import Redactor

#: Tags of code cells in the order in which they stand.
ORDER = ("parameters", "setup", "evidence", "findings", "plan", "action", "verify", "record")
TITLE = ("Meaning", "Impact", "When", "Changes", "Owner")
MOST_LINES, MEDIAN_LINES = 10, 5
#: An imported page may be longer than a notebook that was written as one.
CELLS, IMPORTED_CELLS = (12, 20), (6, 80)
_BANNED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.While, ast.Try, ast.With)


@dataclass(frozen=True, slots=True)
class Problem:
    """One rule that a notebook breaks.

    Args:
        path: the notebook.
        rule: key of ``RULES``.
        cell: id of the cell; empty when it is about the whole.
        message: what is wrong and what to do.
    """

    path: Path
    rule: str
    cell: str
    message: str

    def to_json(self) -> dict[str, str]:
        """Plain JSON data."""
        return {"path": str(self.path), "rule": self.rule, "cell": self.cell, "message": self.message}

    def __str__(self) -> str:
        return f"{self.path}: {self.rule}: {f'cell {self.cell}: ' if self.cell else ''}{self.message}"


class Notebook:
    """A notebook as the rules see it.

    Args:
        path: its file.
    """

    def __init__(self, path: Path) -> None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            self.cells: list[dict[str, Any]] = list(content["cells"])
            self.meta: Mapping[str, Any] = content.get("metadata", {}).get("runbook", {})
            self.sources = [source(cell) for cell in self.cells]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotebookError(f"{path} is not a notebook: {type(error).__name__}: {error}") from error
        self.path = path

    def code(self) -> list[dict[str, Any]]:
        """The code cells."""
        return [cell for cell in self.cells if cell["cell_type"] == "code"]

    def aliases(self) -> dict[str, str]:
        """Names that stand for a client of the run, in any of its cells."""
        return language.aliases(tree(cell) for cell in self.code())

    def markdown(self) -> list[dict[str, Any]]:
        """The text cells."""
        return [cell for cell in self.cells if cell["cell_type"] == "markdown"]


def lint(path: Path, *, scenarios: frozenset[str] | None = None) -> tuple[Problem, ...]:
    """Every rule that a notebook breaks; it is read, never run.

    Args:
        path: the notebook.
        scenarios: names of the lab's scenarios; None when they are not known here.

    Raises:
        NotebookError: the file is no notebook.
    """
    book = Notebook(path)
    unreadable = list(_syntax(book))
    if unreadable:
        return tuple(Problem(path, "syntax", cell, message) for cell, message in unreadable)
    found = [Problem(path, rule, cell, message) for rule, check in RULES.items() for cell, message in check(book)]
    if scenarios is not None:
        unknown = sorted(set(book.meta.get("scenarios", ())) - scenarios)
        found += [Problem(path, "scenario", "", f"the lab has no scenario {name!r}") for name in unknown]
    return tuple(found)


def source(cell: Mapping[str, Any]) -> str:
    """A cell's text."""
    text = cell.get("source", "")
    return text if isinstance(text, str) else "".join(text)


def tree(cell: Mapping[str, Any]) -> ast.Module:
    """A cell's syntax; ``await`` is allowed at its top."""
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    parsed = compile(source(cell), "cell", "exec", flags)
    assert isinstance(parsed, ast.Module)
    return parsed


def tag(cell: Mapping[str, Any]) -> str:
    """The one tag of a code cell."""
    return " ".join(cell.get("metadata", {}).get("tags", []))


def _syntax(book: Notebook) -> Iterator[tuple[str, str]]:
    for cell in book.code():
        if re.search(r"^\s*[!%]", source(cell), re.MULTILINE):
            yield _id(cell), "no shell escapes and no magics: a runbook also runs without IPython's own syntax"
            continue
        try:
            tree(cell)
        except (SyntaxError, ValueError) as error:
            yield _id(cell), f"is not Python: {error}"


def _outputs(book: Notebook) -> Iterator[tuple[str, str]]:
    for cell in book.code():
        if cell.get("outputs") or cell.get("execution_count"):
            yield _id(cell), "has outputs or a count; they belong into records: strip them"


def _ids(book: Notebook) -> Iterator[tuple[str, str]]:
    ids = [_id(cell) for cell in book.cells]
    for one in dict.fromkeys(ids):
        if not re.fullmatch(r"[a-z]+(-[a-z]+)*", one):
            yield one, "an id is made of words, such as is-it-the-database, so that a document can name the cell"
        if ids.count(one) > 1:
            yield one, "two cells have this id"


def _size(book: Notebook) -> Iterator[tuple[str, str]]:
    imported = "imported" in book.meta
    least, most = IMPORTED_CELLS if imported else CELLS
    if not least <= len(book.cells) <= most:
        yield "", f"has {len(book.cells)} cells; {least} to {most} are read in one go"
    lengths = {_id(cell): len(source(cell).splitlines()) for cell in book.code()}
    for cell in book.code():
        # The parameters of an imported page are as many as it names.
        if lengths[_id(cell)] > MOST_LINES and not (imported and tag(cell) in {"parameters", "plan"}):
            yield _id(cell), f"has {lengths[_id(cell)]} lines; at most {MOST_LINES}: logic belongs into the library"
    if lengths and statistics.median(lengths.values()) > MEDIAN_LINES and not imported:
        yield "", f"half of its code cells have more than {MEDIAN_LINES} lines"


def _order(book: Notebook) -> Iterator[tuple[str, str]]:
    tags = [tag(cell) for cell in book.code()]
    for cell, one in zip(book.code(), tags, strict=True):
        if one not in ORDER:
            yield _id(cell), f"needs exactly one tag of {', '.join(ORDER)}, not {one!r}"
    if tags[:2] != ["parameters", "setup"] or tags[-1:] != ["record"] or tags.count("parameters") != 1:
        yield "", "begins with the cells parameters and setup, and ends with record"
    known = [one for one in tags if one in ORDER]
    if known != sorted(known, key=ORDER.index):
        yield "", f"its cells must stand in the order {', '.join(ORDER)}"


def _parameters(book: Notebook) -> Iterator[tuple[str, str]]:
    try:
        Parameters.of(book.cells, str(book.path))
    except NotebookError as error:
        yield "parameters", str(error).removeprefix(f"{book.path}: ")


def _plain(book: Notebook) -> Iterator[tuple[str, str]]:
    for cell in book.code():
        for node in ast.walk(tree(cell)):
            if isinstance(node, _BANNED):
                yield _id(cell), f"holds a {type(node).__name__}: logic belongs into the library"
            elif isinstance(node, ast.Name) and node.id == "print":
                yield _id(cell), "prints; show one object instead"


def _shows(book: Notebook) -> Iterator[tuple[str, str]]:
    for cell in book.code():
        body = tree(cell).body
        shown = body[-1] if body else None
        if tag(cell) != "parameters" and (not isinstance(shown, ast.Expr) or isinstance(shown.value, ast.Tuple)):
            yield _id(cell), "must end by showing exactly one object"


def _action(book: Notebook) -> Iterator[tuple[str, str]]:
    for index, cell in enumerate(book.code()):
        if tag(cell) != "action":
            continue
        later = {n.id for one in book.code()[index + 1 :] for n in ast.walk(tree(one)) if isinstance(n, ast.Name)}
        bound = {n.id for n in ast.walk(tree(cell)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        for name in sorted(bound & later):
            yield _id(cell), f"binds {name}, which a later cell uses: running on must not depend on a change"


def _title(book: Notebook) -> Iterator[tuple[str, str]]:
    first = source(book.markdown()[0]) if book.markdown() else ""
    if not first.startswith("# "):
        yield "", "begins with a title cell: # Title"
    for word in TITLE:
        if f"**{word}.**" not in first:
            yield "title", f"does not say **{word}.**"


def _questions(book: Notebook) -> Iterator[tuple[str, str]]:
    headings = [(_id(cell), line) for cell in book.markdown()[1:] for line in _headings(source(cell))]
    if not headings:
        yield "", "has no headings; each part is headed by the question that it answers"
    for cell, heading in headings:
        if not heading.rstrip().endswith("?"):
            yield cell, f"the heading {heading[3:]!r} is no question"


def _headings(text: str) -> Iterator[str]:
    fenced = False
    for line in text.splitlines():
        if re.match(r"\s*(?:[-*+]\s+|\d+[.)]\s+)*(?:```|~~~)", line):
            fenced = not fenced
        elif not fenced and line.startswith("## "):
            yield line


def _proven(book: Notebook) -> Iterator[tuple[str, str]]:
    if not book.meta.get("scenarios"):
        yield "", "names no lab scenario that proves it: metadata.runbook.scenarios"


def _secrets(book: Notebook) -> Iterator[tuple[str, str]]:
    for cell in book.cells:
        text = source(cell)
        if Redactor().text(text) != text:
            yield _id(cell), "holds something that looks like a secret; name it in the catalogue instead"


def _language(find: Callable[[ast.Module], Iterator[str]]) -> Callable[[Notebook], Iterator[tuple[str, str]]]:
    def check(book: Notebook) -> Iterator[tuple[str, str]]:
        for cell in book.code():
            for message in find(tree(cell)):
                yield _id(cell), message

    return check


def _queries(book: Notebook) -> Iterator[tuple[str, str]]:
    aliases = book.aliases()
    for cell in book.code():
        for message in language.unknown_queries(tree(cell), aliases):
            yield _id(cell), message


def _writes(book: Notebook) -> Iterator[tuple[str, str]]:
    aliases = book.aliases()
    for cell in book.code():
        if tag(cell) != "action":
            for message in language.applies(tree(cell)):
                yield _id(cell), message
        for message in language.writes(tree(cell), aliases):
            yield _id(cell), message


def _id(cell: Mapping[str, Any]) -> str:
    return str(cell.get("id", ""))


#: Rule to its check; each yields ``(cell id, message)``.
RULES: Mapping[str, Callable[[Notebook], Iterator[tuple[str, str]]]] = {
    "outputs": _outputs,
    "ids": _ids,
    "size": _size,
    "order": _order,
    "parameters": _parameters,
    "plain": _plain,
    "shows": _shows,
    "action-alone": _action,
    "title": _title,
    "questions": _questions,
    "proven": _proven,
    "secrets": _secrets,
    "naive-time": _language(language.naive_times),
    "unknown-query": _queries,
    "timeout": _language(language.missing_timeouts),
    "imports": _language(language.imports),
    "write": _writes,
}
