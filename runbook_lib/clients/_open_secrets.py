"""Secrets that stand in the open in what Helm would apply: in the values, or in any object but a Secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from runbook_lib.secrets import Redactor, Secret

#: Annotations by which charts restart pods when a Secret changes: a digest, however the name ends.
_CHECKSUM = "checksum/"
#: Where an object names a Secret instead of holding its value.
_NAMES_A_SECRET = ("secretName", "secretRef", "secretKeyRef", "imagePullSecrets")
#: A value that says where a secret is kept: bank-vaults, vals, 1Password, AWS, Google and Azure.
_KEPT_ELSEWHERE = re.compile(r"(?:vault:|ref\+\w+://|op://|arn:aws[\w-]*:|gcp:secretmanager:|azurekeyvault:)\S+")


class _Text(NamedTuple):
    """A text in a tree of data: where it is, the last word of that, and itself."""

    place: str
    key: str
    text: str


def open_secrets(values: Mapping[str, Any], objects: Sequence[Mapping[str, Any]], redactor: Redactor) -> list[str]:
    """Where a secret stands in the open; the redactor learns each, so that no later word of Helm shows it.

    Args:
        values: the values that are given to the chart.
        objects: what it renders to.
        redactor: tells a secret by its name or its look.

    Returns:
        Places such as ``values.database.password`` or ``deployment/api.spec.template.spec.containers.api.env.TOKEN``.
    """
    texts = [*_texts(values, "values", "values")]
    for one in objects:
        if one.get("kind") != "Secret":
            name = f"{str(one['kind']).lower()}/{one['metadata']['name']}"
            texts += _texts(one, name, name)
    named = {name for one in objects for name in _names(one, inside=False)}
    found = [text for text in texts if text.text not in named and _is_secret(text, redactor)]
    for secret in found:
        redactor.learn(Secret(secret.text))
    return sorted({secret.place for secret in found})


def _is_secret(one: _Text, redactor: Redactor) -> bool:
    if one.key.startswith(_CHECKSUM) or _KEPT_ELSEWHERE.fullmatch(one.text):
        return False
    return bool(redactor.data({one.key: one.text}) != {one.key: one.text})


def _texts(found: Any, place: str, key: str) -> Iterator[_Text]:
    """Every text below ``found``; an item of a list that has a name, such as a variable, goes by it."""
    if isinstance(found, str):
        yield _Text(place, key, found)
    elif isinstance(found, Mapping):
        for name, inner in found.items():
            # The value of a variable is named by the variable.
            word = key if name == "value" and "name" in found else str(name)
            yield from _texts(inner, place if word == key and name == "value" else f"{place}.{word}", word)
    elif isinstance(found, list):
        for number, inner in enumerate(found):
            name = str(inner["name"] if isinstance(inner, Mapping) and "name" in inner else number)
            yield from _texts(inner, f"{place}.{name}", name)


def _names(found: Any, *, inside: bool) -> Iterator[str]:
    """Names of Secrets that an object refers to: who gives one of them as a value gives no secret."""
    if isinstance(found, str):
        if inside:
            yield found
    elif isinstance(found, Mapping):
        for key, inner in found.items():
            yield from _names(inner, inside=inside or key in _NAMES_A_SECRET)
    elif isinstance(found, list):
        for inner in found:
            yield from _names(inner, inside=inside)
