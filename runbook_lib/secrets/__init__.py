"""Secrets by name, values that never show themselves, and the redactor that every writer goes through."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from runbook_lib.errors import SecretError
from runbook_lib.secrets._patterns import CALL, HARMLESS, KEYWORD, MASK, MOMENTS, OPEN_KEY, RULES, SHAPES, in_lower_case

#: Shorter values would redact ordinary words; a secret this short protects nothing.
MIN_SECRET_LENGTH = 6

KubernetesSecretReader = Callable[[str, str, str], str]


class Secret:
    """A secret's value; every representation is a mask, only ``reveal`` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value, for the one call that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a secret cannot be pickled")


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is kept: ``env:NAME``, ``file:PATH`` or ``k8s:namespace/name/key``."""

    scheme: str
    place: str

    @classmethod
    def parse(cls, text: str, base: Path | None = None) -> SecretRef:
        """Read a reference; a relative ``file:`` path is taken from ``base``.

        Raises:
            SecretError: the text is no reference, most likely a secret's value itself; the text is not repeated.
        """
        scheme, _, place = text.partition(":")
        if scheme not in {"env", "file", "k8s"} or not place:
            raise SecretError(
                "write the name of a secret (env:NAME, file:PATH or k8s:namespace/name/key), not its value"
            )
        if scheme == "k8s" and len(place.split("/")) != 3:
            raise SecretError("a Kubernetes secret is named k8s:namespace/name/key")
        if scheme == "file":
            place = str((base or Path()) / Path(place).expanduser())
        return cls(scheme, place)

    def resolve(self, kubernetes: KubernetesSecretReader | None = None) -> Secret:
        """Read the value now.

        Args:
            kubernetes: reads ``(namespace, name, key)`` from a cluster; needed for ``k8s:`` only.

        Raises:
            SecretError: it is not there, or is empty.
        """
        if self.scheme == "env":
            value = os.environ.get(self.place, "")
        elif self.scheme == "file":
            try:
                value = Path(self.place).read_text(encoding="utf-8").strip("\n")
            except (OSError, UnicodeDecodeError) as error:
                raise SecretError(f"secret {self} cannot be read: {type(error).__name__}") from error
        elif kubernetes is None:
            raise SecretError(f"secret {self} needs a cluster to read it from")
        else:
            namespace, name, key = self.place.split("/")
            value = kubernetes(namespace, name, key)
        if not value:
            raise SecretError(f"secret {self} is empty or not set")
        return Secret(value)

    def __str__(self) -> str:
        return f"{self.scheme}:{self.place}"


class Redactor:
    """Removes secrets from text before it is written.

    Known values are found in plain, URL, JSON, base64, hexadecimal and shell-quoted form; unknown ones by their shape.

    Args:
        known: values that must never appear.
    """

    def __init__(self, known: Iterable[Secret] = ()) -> None:
        self._forms: set[str] = set()
        self.count = 0
        for secret in known:
            self.learn(secret)

    def learn(self, secret: Secret) -> Secret:
        """Redact this value, too, from now on; returns it for the caller to use."""
        value = secret.reveal()
        if len(value) >= MIN_SECRET_LENGTH:
            self._forms.update(_encoded_forms(value))
        return secret

    @property
    def longest(self) -> int:
        """Length of the longest known form, characters: how much a stream must hold back."""
        return max(map(len, self._forms), default=0)

    def text(self, content: str) -> str:
        """``content`` without secrets."""
        for form in sorted(self._forms, key=len, reverse=True):
            if form in content:
                self.count += content.count(form)
                content = content.replace(form, MASK)
        lower = in_lower_case(content)
        for starts, pattern, replacement in RULES:
            if starts is None:
                changed = pattern.sub(lambda match, r=replacement: self._replace(match, r), content)  # type: ignore[misc]
            else:
                changed = self._at(content, starts(lower), pattern, replacement)
            if changed != content:
                content, lower = changed, in_lower_case(changed)
        return content

    def _at(self, content: str, starts: Iterable[int], pattern: re.Pattern[str], replacement: str) -> str:
        """``content`` with the matches replaced that begin at one of the rising ``starts``."""
        kept, end = [], 0
        for start in starts:
            match = pattern.match(content, start) if start >= end else None
            if match is not None:
                kept += [content[end:start], self._replace(match, replacement)]
                end = match.end()
        return "".join((*kept, content[end:])) if kept else content

    def _replace(self, match: re.Match[str], replacement: str) -> str:
        whole = match.group(0)
        kept = match.group(1) if match.re.groups and replacement.startswith(r"\1") else ""
        value = whole[len(kept) :]
        if HARMLESS.match(value) or (kept.endswith("= ") and CALL.match(value)):
            return whole
        self.count += 1
        return match.expand(replacement)

    def data(self, value: Any) -> Any:
        """JSON data without secrets: text is redacted, and so is any text value whose key names a secret."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._member(str(key), item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return list(value) if self._moments(value) else [self.data(item) for item in value]
        return value

    def _moments(self, values: Sequence[Any]) -> bool:
        """Whether there are only moments, and no known secret is among them."""
        if len(values) < 2 or not all(type(value) is str for value in values):
            return False
        joined = "\n".join(values)
        return MOMENTS.fullmatch(joined) is not None and not any(form in joined for form in self._forms)

    def _member(self, key: str, value: Any) -> Any:
        if isinstance(value, str) and value and _SECRET_KEY.search(key) and not HARMLESS.match(value):
            self.count += 1
            return MASK
        return self.data(value)

    def holds_known(self, content: bytes) -> bool:
        """Whether a known secret stands in ``content`` in any form; for the last sweep over a record."""
        return any(form.encode() in content for form in self._forms)

    def stream(self) -> StreamRedactor:
        """A redactor for text that arrives in pieces."""
        return StreamRedactor(self)


class StreamRedactor:
    """Redacts text that arrives in pieces, also a secret that is split over two of them."""

    # Patterns match within a line; a longer unfinished line is let go after this many characters.
    _HELD_LINE = 8192
    # Longer than any private key in use: RSA with 16,384 bits takes 12,800.
    _HELD_KEY = 16384

    def __init__(self, redactor: Redactor) -> None:
        self._redactor, self._held = redactor, ""

    def feed(self, piece: str) -> str:
        """The redacted text that can be let go; the unfinished last line is held back."""
        content = self._held + piece
        cut = max(content.rfind("\n"), content.rfind("\r")) + 1
        begin = content.rfind("-----BEGIN ", 0, cut)
        if begin >= 0 and len(content) - begin <= self._HELD_KEY and OPEN_KEY.match(content, begin):
            cut = begin
        elif len(content) - cut > self._HELD_LINE:
            cut = len(content) - max(self._redactor.longest, 256)
        self._held = content[cut:]
        return self._redactor.text(content[:cut])

    def flush(self) -> str:
        """The rest, redacted."""
        rest, self._held = self._held, ""
        return self._redactor.text(rest)


_SECRET_KEY = re.compile(rf"(?i){KEYWORD}$")
_DSN = re.compile(r"(?i)^[a-z][a-z0-9+.-]*://[^\s:/@]*:[^\s@]+@")


def secret_reason(name: str, value: str) -> str:
    """Why a parameter must be refused as a secret; empty when it need not be.

    Args:
        name: the parameter's name.
        value: its value as text.
    """
    if SHAPES.search(value) or "PRIVATE KEY-----" in value:
        return "its value has the form of a credential"
    if _DSN.match(value):
        return "its value is an address with a password"
    if value and _SECRET_KEY.search(name) and not HARMLESS.match(value):
        return "its name says that it is a secret"
    return ""


def _encoded_forms(value: str) -> set[str]:
    raw = value.encode()
    forms = {
        value,
        quote(value, safe=""),
        quote_plus(value),
        json.dumps(value)[1:-1],
        shlex.quote(value).strip("'"),
        raw.hex(),
    }
    # Base64 of a text that contains the secret shifts by the bytes before it: keep the part all three shifts share.
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        inner = encoded[(0, 2, 3)[shift] : len(encoded) - (1 if (len(raw) + shift) % 3 else 0)]
        if len(inner) >= MIN_SECRET_LENGTH:
            forms.update({inner, inner.translate(str.maketrans("+/", "-_"))})
    return {form for form in forms if len(form) >= MIN_SECRET_LENGTH}
