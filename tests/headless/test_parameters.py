"""Parameters are declared as literals, and a value arrives exactly as it was typed or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.errors import NotebookError, ParameterError, UnknownNameError
from runbook_lib.headless.parameters import Parameter, Parameters, assignments, from_file

SOURCE = (
    'text: str = "api"  # any text\nwhole: int = 3  # how many\nshare: float = 0.5\nsure: bool = False  # really?\n'
    'empty: str = ""'
)


def declared(source: str) -> Parameters:
    """The parameters of a notebook with this parameters cell."""
    return Parameters.of([{"metadata": {"tags": ["parameters"]}, "source": source}], "x.ipynb")


def test_a_declaration_gives_name_type_default_and_description() -> None:
    """Everything is read from the cell without running it."""
    assert (
        Parameter("text", "str", "api", "any text"),
        Parameter("whole", "int", 3, "how many"),
        Parameter("share", "float", 0.5, ""),
        Parameter("sure", "bool", False, "really?"),
        Parameter("empty", "str", "", ""),
    ) == declared(SOURCE).items


@pytest.mark.parametrize(
    ("source", "told"),
    [
        pytest.param("text = 'api'", "only `name: type = literal", id="no type"),
        pytest.param("text: str", "must be a literal of type str", id="no default"),
        pytest.param("text: str = None", "must be a literal of type str", id="none"),
        pytest.param("text: str | None = None", "allowed: str, int, float, bool", id="optional"),
        pytest.param("end: int = 3\nstart: int = end - 1", "must be a literal", id="derived from another"),
        pytest.param("text: str = f'{1}'", "must be a literal", id="f-string"),
        pytest.param("text: str = open('/etc/passwd').read()", "must be a literal", id="a call"),
        pytest.param("whole: int = True", "must be a literal of type int", id="bool as int"),
        pytest.param("import os", "only `name: type = literal", id="import"),
        pytest.param("print: str = ''", "cannot name a parameter", id="builtin"),
        pytest.param("run: str = ''", "cannot name a parameter", id="name of the runbook"),
        pytest.param("text: str = ''\ntext: str = ''", "declared twice", id="twice"),
        pytest.param("text: str = (", "is not Python", id="syntax"),
    ],
)
def test_anything_but_annotated_literals_is_refused(source: str, told: str) -> None:
    """A parameters cell cannot hold code, so nothing in it can point somewhere else than it says."""
    with pytest.raises(NotebookError, match=told.replace("|", r"\|")):
        declared(source)


@pytest.mark.parametrize("count", [0, 2])
def test_there_is_exactly_one_parameters_cell(count: int) -> None:
    """With no tagged cell papermill would overwrite what was given; with two nobody knows which counts."""
    with pytest.raises(NotebookError, match=f"this one has {count}"):
        Parameters.of([{"metadata": {"tags": ["parameters"]}, "source": ""}] * count, "x.ipynb")


@pytest.mark.parametrize(
    "text",
    [
        "1.10",
        "1.0",
        "1e3",
        "0755",
        "010",
        "1234567",
        "12e4567",
        "true",
        "no",
        "on",
        "22:22",
        "nan",
        "None",
        " 5 ",
        "1_0",
    ],
)
def test_text_stays_text(text: str) -> None:
    """A version, a commit or a word is never turned into a number, a truth or nothing."""
    assert text == declared(SOURCE).check({"text": text})["text"]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_text_stays_as_it_is(text: str) -> None:
    """Quotes, braces, newlines and separators arrive unchanged, unless the text is a secret."""
    try:
        assert text == declared(SOURCE).check({"text": text})["text"]
    except ParameterError as error:
        assert "is refused" in str(error)  # noqa: PT017 - either outcome is right, silence about a change is not


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("whole", "7", 7),
        ("whole", "-7", -7),
        ("whole", str(2**53), 2**53),
        ("share", "1.5", 1.5),
        ("share", "-2", -2.0),
        ("share", "1e3", 1000.0),
        ("sure", "true", True),
        ("sure", "false", False),
        ("empty", "", ""),
    ],
)
def test_text_is_read_as_the_declared_type(name: str, text: str, expected: object) -> None:
    """A number or a truth is what the declaration says, with exactly its type."""
    value = declared(SOURCE).check({name: text})[name]
    assert (expected, type(expected)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(
            ("whole", text)
            for text in ("1_000", " 5 ", "١٢", "0755", "010", "1.0", "1e3", "nan", "None", "", "0x10", "+-1")
        ),
        ("whole", str(2**53 + 1)),
        ("whole", "9" * 5000),
        *(("share", text) for text in ("nan", "inf", "12e4567", "1e999", "1_0.5", " 1", "", "0,5", "1e9999", "٣")),
        *(("sure", text) for text in ("yes", "no", "on", "off", "1", "0", "", "TRUE", "None")),
        ("text", ""),
        ("text", "a\0b"),
    ],
)
def test_text_that_only_looks_right_is_refused(name: str, text: str) -> None:
    """What other readers would silently turn into another value is refused, with the type and the way to write it."""
    with pytest.raises(ParameterError, match=f"parameter '{name}' is of type"):
        declared(SOURCE).check({name: text})


@pytest.mark.parametrize(
    ("name", "value"),
    [("text", 1.1), ("text", True), ("text", None), ("whole", 1.0), ("whole", True), ("share", True), ("sure", 1)],
)
def test_a_typed_value_must_have_the_declared_type(name: str, value: Any) -> None:
    """A value that was already turned into something else cannot be turned back."""
    with pytest.raises(ParameterError, match=f"parameter '{name}'"):
        declared(SOURCE).check({name: value})


def test_an_unknown_name_gives_the_nearest() -> None:
    """A misspelt parameter is refused with what was meant."""
    with pytest.raises(UnknownNameError, match="Did you mean 'share'") as caught:
        declared(SOURCE).check({"sahre": "1"})
    assert 2 == caught.value.exit_code


@pytest.mark.parametrize("name", ["x = 1; import os; os.system('touch /tmp/x') #", "__import__", "text\n", ""])
def test_a_name_cannot_be_code(name: str) -> None:
    """Only the declared names exist."""
    with pytest.raises(UnknownNameError):
        declared(SOURCE).check({name: "1"})


@pytest.mark.parametrize(
    "value",
    ["postgresql://app:hunter2hunter2@db/app", "ghp_" + "a" * 36, "-----BEGIN RSA PRIVATE KEY-----\nMII"],
    ids=["dsn", "token", "key"],
)
def test_a_secret_is_refused_and_not_repeated(value: str) -> None:
    """Parameters are kept in the record, so a credential may not be one, and the error does not show it."""
    with pytest.raises(ParameterError, match="is refused") as caught:
        declared(SOURCE).check({"text": value})
    assert value not in str(caught.value)


def test_assignments_keep_the_value_as_typed() -> None:
    """Only the first equals sign separates."""
    assert {"a": "1.10", "b": "x=y", "c": ""} == assignments(["a=1.10", "b=x=y", "c="])


@pytest.mark.parametrize("texts", [["a"], ["a=1", "a=2"]], ids=["no equals sign", "twice"])
def test_assignments_that_are_none_are_refused(texts: list[str]) -> None:
    """A forgotten equals sign or a double name is an error."""
    with pytest.raises(ParameterError):
        assignments(texts)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.yaml", "text: 1.10\nwhole: 5\nsure: true\n"),
        ("p.json", '{"text": "1.10", "whole": 5, "sure": true}'),
        ("p.toml", 'text = "1.10"\nwhole = 5\nsure = true\n'),
    ],
)
def test_a_file_gives_the_same_values_in_every_form(tmp_path: Path, name: str, content: str) -> None:
    """YAML's guesses about types play no part."""
    (tmp_path / name).write_text(content)
    values = declared(SOURCE).check(from_file(tmp_path / name))
    assert ("1.10", 5, True) == (values["text"], values["whole"], values["sure"])


@pytest.mark.parametrize(
    ("name", "content"), [("p.json", "["), ("p.yaml", "- a"), ("p.yaml", "a: ["), ("p.ini", "a=1")]
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, name: str, content: str) -> None:
    """A broken file names itself."""
    (tmp_path / name).write_text(content)
    with pytest.raises(ParameterError, match=name):
        from_file(tmp_path / name)


def test_reading_parameters_imports_nothing_heavy(tmp_path: Path) -> None:
    """A wrong parameter is refused before anything slow is loaded."""
    (tmp_path / "x.ipynb").write_text(json.dumps({"cells": [{"metadata": {"tags": ["parameters"]}, "source": SOURCE}]}))
    code = (
        "import sys; from pathlib import Path; from runbook_lib.headless.parameters import Parameters; "
        f"Parameters.read(Path({str(tmp_path / 'x.ipynb')!r})); "
        "print([m for m in ('nbformat', 'papermill', 'zmq', 'jupyter_client', 'pandas', 'yaml') if m in sys.modules])"
    )
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60, cwd=Path(__file__).parents[2])
    assert "[]" == done.stdout.strip()
