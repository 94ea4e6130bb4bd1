"""How many secrets that nobody registered are found in what operations tools write, and how much else is lost."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runbook_lib.secrets import Redactor

HERE = Path(__file__).parent
ALPHABETS = {
    "A": string.ascii_letters + string.digits,
    "B": string.ascii_letters + string.digits + "+/",
    "D": string.digits,
    "H": string.digits + "abcdef",
    "L": string.ascii_lowercase,
    "U": string.ascii_uppercase + string.digits,
}
#: Records-and-actions: at least 98 % found, at most 0.5 % of the other lines changed.
RECALL, FALSE = 0.98, 0.005
#: So much of a secret may be left standing, characters.
FRINGE = 5


def lines(name: str) -> list[str]:
    return [line for line in (HERE / name).read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]


def labelled(seed: int) -> Iterator[tuple[str, str, str]]:
    """Kind, line and secret, with letters drawn anew for each seed."""
    draw = random.Random(seed)
    for line in lines("corpus_secret.txt"):
        kind, _, template = line.partition("\t")
        filled = re.sub(
            r"%([ABDHLU])(\d+)%", lambda m: "".join(draw.choices(ALPHABETS[m[1]], k=int(m[2]))), template
        ).replace(r"\n", "\n")
        (secret,) = re.findall(r"\[\[(.*?)\]\]", filled, re.DOTALL)
        yield kind, filled.replace("[[", "").replace("]]", ""), secret


def found(secret: str, cleaned: str) -> bool:
    """Whether nothing of the secret is left that is longer than a fringe."""
    size = min(len(secret), FRINGE + 1)
    return not any(secret[at : at + size] in cleaned for at in range(len(secret) - size + 1))


def test_the_corpus_is_large_enough() -> None:
    """At least 200 lines of at least 25 kinds with a secret, and 200 without."""
    kinds = {line.partition("\t")[0] for line in lines("corpus_secret.txt")}
    assert (True, True, True) == (
        len(lines("corpus_secret.txt")) >= 200,
        len(kinds) >= 25,
        len(lines("corpus_benign.txt")) >= 200,
    )


@pytest.mark.parametrize("seed", range(3))
def test_unregistered_secrets_are_found(seed: int, record_property: Callable[[str, object], None]) -> None:
    """Nearly every secret is gone from its line."""
    cases = list(labelled(seed))
    missed = [(kind, line) for kind, line, secret in cases if not found(secret, Redactor().text(line))]
    recall = 1 - len(missed) / len(cases)
    record_property("recall", recall)
    assert recall >= RECALL, f"{recall:.1%} of {len(cases)} secrets: {missed}"


def test_ordinary_lines_are_kept(record_property: Callable[[str, object], None]) -> None:
    """Hardly any line without a secret is changed."""
    given = lines("corpus_benign.txt")
    changed = [(line, Redactor().text(line)) for line in given if Redactor().text(line) != line]
    record_property("false", len(changed) / len(given))
    assert len(changed) <= FALSE * len(given), changed


HOSTILE = (
    "a.b-c_",
    "a://",
    "://a:",
    "eyJ-",
    'password="\\',
    "password '",
    "password\t",
    "-password",
    "-a",
    "curl ",
    "AUTH ",
    "-----BEGIN PRIVATE KEY-----",
)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", HOSTILE, ids=str)
def test_hostile_text_takes_time_in_proportion(piece: str) -> None:
    """Text on which searching begins everywhere and ends nowhere: squared effort would take minutes for this."""
    assert Redactor().text(piece * (60_000 // len(piece)))


def test_a_private_key_in_pieces_never_gets_through() -> None:
    """A key whose lines arrive one by one is held until its end, and what follows is let go."""
    stream = Redactor().stream()
    key = ["-----BEGIN RSA PRIVATE KEY-----\n", *(f"MIIE{n}abcdefghijklmnop\n" for n in range(40))]
    pieces = ["before\n", *key, "-----END RSA PRIVATE KEY-----\n", "after\n"]
    assert "before\n[redacted]\nafter\n" == "".join(map(stream.feed, pieces)) + stream.flush()


def test_a_private_key_without_an_end_holds_nothing_for_ever() -> None:
    """Where the end never comes, the text goes on after more than any key has."""
    stream = Redactor().stream()
    assert "line 3999\n" in "".join(
        map(stream.feed, ["-----BEGIN PRIVATE KEY-----\n", *(f"line {n}\n" for n in range(4000))])
    )
