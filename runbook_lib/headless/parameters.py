"""The parameters of a runbook: declared as literals in its notebook, checked before anything is started.

Only the standard library is imported here: a wrong parameter is refused before a kernel or an executor is loaded.
"""

from __future__ import annotations

import ast
import builtins
import io
import json
import keyword
import math
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.errors import NotebookError, ParameterError, UnknownNameError
from runbook_lib.secrets import secret_reason

Value = str | int | float | bool
TAG = "parameters"
TYPES: Mapping[str, type[Value]] = {"str": str, "int": int, "float": float, "bool": bool}
# Names that the cells of a runbook import or bind: a parameter of that name would take their place.
_TAKEN = frozenset({"Run", "actions", "analysis", "charts", "run", "runbook_lib"}) | frozenset(dir(builtins))
# ASCII digits without separators, spaces or leading zeros: 1_000, 0755 and Arabic digits are all typing mistakes
# that other readers silently turn into another number.
_INT = re.compile(r"[+-]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
_BOOLS = {"true": True, "false": False, "True": True, "False": False}
# Beyond it JSON readers no longer keep an integer exact.
_LARGEST_INT = 2**53


@dataclass(frozen=True, slots=True)
class Parameter:
    """A literal that may be set before a run.

    Args:
        name: an identifier.
        type: ``str``, ``int``, ``float`` or ``bool``.
        default: its value when nothing is given.
        description: the comment behind it.
    """

    name: str
    type: str
    default: Value
    description: str

    def to_json(self) -> dict[str, Value]:
        """Plain JSON data."""
        return {"name": self.name, "type": self.type, "default": self.default, "description": self.description}


@dataclass(frozen=True, slots=True)
class Parameters:
    """What one notebook declares.

    Args:
        items: in the order of the cell.
        where: the notebook, for messages.
    """

    items: tuple[Parameter, ...]
    where: str

    @classmethod
    def read(cls, path: Path) -> Parameters:
        """The parameters of the notebook at ``path``.

        Raises:
            NotebookError: it cannot be read, has not exactly one parameters cell, or the cell holds anything but
                annotated literals.
        """
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            return cls.of(cells, str(path))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotebookError(f"{path} is not a notebook: {type(error).__name__}: {error}") from error

    @classmethod
    def of(cls, cells: Sequence[Mapping[str, Any]], where: str) -> Parameters:
        """The parameters that the tagged cell among ``cells`` declares.

        Raises:
            NotebookError: see ``read``.
        """
        tagged = [cell for cell in cells if TAG in cell.get("metadata", {}).get("tags", ())]
        if len(tagged) != 1:
            raise NotebookError(f"{where}: a runbook has exactly one cell tagged {TAG!r}, this one has {len(tagged)}")
        source = tagged[0]["source"]
        text = source if isinstance(source, str) else "".join(source)
        return cls(tuple(_declared(text, where)), where)

    def check(self, given: Mapping[str, Any]) -> dict[str, Value]:
        """The value of every parameter: as given, or its default.

        Text is read as the declared type and nothing else, so ``1.10`` stays ``"1.10"`` where text is declared. Values
        that are typed already (from a JSON file or an API call) must have the declared type.

        Args:
            given: name to value.

        Raises:
            UnknownNameError: the notebook has no such parameter; carries the nearest name.
            ParameterError: a value is not of its type, is empty where it may not be, or looks like a secret.
        """
        known = {item.name: item for item in self.items}
        values = {item.name: item.default for item in self.items}
        for name, value in given.items():
            if name not in known:
                raise UnknownNameError("parameter", str(name), known, self.where)
            values[name] = _value(known[name], value)
        return values

    def to_json(self) -> list[dict[str, Value]]:
        """Plain JSON data: the schema that the genesis of a record holds."""
        return [item.to_json() for item in self.items]


def assignments(texts: Sequence[str]) -> dict[str, str]:
    """``name=value`` texts as a mapping; the value is kept exactly as it was typed.

    Raises:
        ParameterError: a text has no ``=``, or a name comes twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise ParameterError(f"{text!r} is no parameter; write name=value")
        if name in found:
            raise ParameterError(f"parameter {name!r} is given twice")
        found[name] = value
    return found


def from_file(path: Path) -> dict[str, Any]:
    """Parameters from a ``.json``, ``.toml`` or ``.yaml`` file; every YAML scalar is taken as text.

    Raises:
        ParameterError: the file cannot be read or is no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = _parsed(path.suffix, text)
    except (OSError, ValueError) as error:
        raise ParameterError(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ParameterError(f"{path}: must hold names and values")
    return found


def _parsed(suffix: str, text: str) -> Any:
    if suffix == ".json":
        return json.loads(text)
    if suffix == ".toml":
        import tomllib

        return tomllib.loads(text)
    if suffix in {".yaml", ".yml"}:
        import yaml

        try:
            # The base loader resolves nothing: with any other, "no" becomes False and 22:22 becomes 1342.
            return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - it builds text, lists and mappings only
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error
    raise ValueError("the name must end in .json, .toml, .yaml or .yml")


def _declared(source: str, where: str) -> Iterator[Parameter]:
    try:
        statements = ast.parse(source).body
        comments = dict(_comments(source))
    except (SyntaxError, ValueError, tokenize.TokenError) as error:
        raise NotebookError(f"{where}: the parameters cell is not Python: {error}") from error
    seen: set[str] = set()
    for statement in statements:
        line = f"{where}: parameters cell, line {statement.lineno}"
        parameter = _parameter(statement, line, comments.get(statement.end_lineno or 0, ""))
        if parameter.name in seen:
            raise NotebookError(f"{line}: {parameter.name!r} is declared twice")
        seen.add(parameter.name)
        yield parameter


def _parameter(statement: ast.stmt, line: str, description: str) -> Parameter:
    rule = "only `name: type = literal  # description` may stand here"
    if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
        raise NotebookError(f"{line}: {rule}, not {ast.unparse(statement)!r}")
    name, kind = statement.target.id, ast.unparse(statement.annotation)
    if name in _TAKEN or name.startswith("_") or keyword.issoftkeyword(name):
        raise NotebookError(f"{line}: {name!r} cannot name a parameter; the runbook or Python uses it")
    if kind not in TYPES:
        raise NotebookError(f"{line}: {name!r} has type {kind!r}; allowed: {', '.join(TYPES)}")
    try:
        default = ast.literal_eval(statement.value) if statement.value is not None else None
    except ValueError:
        default = None
    if isinstance(default, int) and not isinstance(default, bool) and kind == "float":
        default = float(default)
    if type(default) is not TYPES[kind]:
        raise NotebookError(f"{line}: the default of {name!r} must be a literal of type {kind}; {rule}")
    return Parameter(name, kind, default, description)


def _comments(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#").strip()


def _value(parameter: Parameter, given: Any) -> Value:
    value = _from_text(parameter, given) if isinstance(given, str) else _typed(parameter, given)
    if value == "" and parameter.default != "":
        raise _wrong(parameter, given, "it must not be empty")
    reason = secret_reason(parameter.name, str(value)) if isinstance(value, str) else ""
    if reason:
        # The value is not repeated: messages end in logs.
        raise ParameterError(
            f"parameter {parameter.name!r} is refused: {reason}. Parameters are kept in the record; keep the secret "
            "elsewhere and name it in the catalogue (env:NAME, file:PATH or k8s:namespace/name/key)"
        )
    return value


def _from_text(parameter: Parameter, text: str) -> Value:
    if parameter.type == "str":
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise _wrong(parameter, text, "it must not hold NUL or half a character")
        return text
    if parameter.type == "bool":
        if text not in _BOOLS:
            raise _wrong(parameter, text, "write true or false")
        return _BOOLS[text]
    if parameter.type == "int":
        if not _INT.fullmatch(text) or len(text) > 17 or abs(int(text)) > _LARGEST_INT:
            raise _wrong(parameter, text, "write a whole number up to 2**53 in digits, without leading zeros")
        return int(text)
    if not _FLOAT.fullmatch(text) or not math.isfinite(float(text)):
        raise _wrong(parameter, text, "write a finite decimal number, such as 1.5")
    return float(text)


def _typed(parameter: Parameter, given: Any) -> Value:
    if parameter.type == "float" and type(given) is int and abs(given) <= _LARGEST_INT:
        return float(given)
    if type(given) is not TYPES[parameter.type]:
        hint = "; quote it to keep it as it is (papermill: -r instead of -p)" if parameter.type == "str" else ""
        raise _wrong(parameter, given, f"it was given as {type(given).__name__}{hint}")
    if isinstance(given, float) and not math.isfinite(given):
        raise _wrong(parameter, given, "it must be finite")
    if isinstance(given, int) and abs(given) > _LARGEST_INT:
        raise _wrong(parameter, given, "it must be at most 2**53")
    return TYPES[parameter.type](given)


def _wrong(parameter: Parameter, given: Any, why: str) -> ParameterError:
    shown = repr(given)
    if secret_reason(parameter.name, str(given)):
        shown = "the value"
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return ParameterError(f"parameter {parameter.name!r} is of type {parameter.type}, not {shown}: {why}")
