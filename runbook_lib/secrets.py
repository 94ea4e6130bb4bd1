"""Secrets by name, values that never show themselves, and the redactor that every writer goes through."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from runbook_lib.errors import SecretError

MASK = "[redacted]"
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


# A credential by its own look, as its issuer documents it.
_SHAPES = re.compile(
    r"https://hooks\.slack\.com/(?:services|workflows|triggers)/\S+"
    r"|(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|SCRAM-SHA-\d+\$\d+:\S+"
    r"|\$(?:1|2[aby]|5|6|y|apr1)\$[./A-Za-z0-9$=,]{8,}"
    r"|\b(?:"
    r"xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{8,}|xapp-\d-[A-Za-z0-9-]{10,}"
    r"|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|gl(?:pat|rt|dt|ft|ptt|cbt|soat)-[\w-]{16,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}\b|[sr]k_(?:live|test)_\w{12,}|whsec_\w{16,}|sk-[\w-]{20,}"
    r"|AIza[\w-]{30,}|ya29\.[\w-]{20,}|1//0[\w-]{20,}|npm_\w{30,}|pypi-[\w-]{30,}|rubygems_[0-9a-f]{40,}"
    r"|dckr_pat_[\w-]{20,}|hv[sb]\.[\w-]{20,}|do[opr]_v1_\w{40,}|SG\.[\w-]{16,}\.[\w-]{16,}|key-[0-9a-f]{32}"
    r"|gl(?:sa|c)_\w{32,}|hf_\w{30,}|NRAK-[A-Z0-9]{20,}|lin_api_\w{30,}|shp(?:at|ca|pa|ss)_[0-9a-f]{32}"
    r"|dapi[0-9a-f]{32}|PMAK-[0-9a-f]{20,}-[0-9a-f]{30,}|dp\.(?:pt|st|ct|sa)\.\w{40,}|\w{14}\.atlasv1\.[\w-]{40,}"
    r"|ATATT3[\w=-]{40,}|ATBB\w{20,}|sq0[a-z]{3}-[\w-]{20,}|fm[12]_\w{40,}|pscale_(?:tkn|pw|oauth)_[\w.-]{30,}"
    r"|sntrys_\w{40,}|sbp_[0-9a-f]{40}|pul-[0-9a-f]{40}|AGE-SECRET-KEY-1[A-Z0-9]{50,}|md5[0-9a-f]{32}\b"
    r")"
)
# The last word of what names a secret. A name of a Kubernetes secret (existingSecret, passwordSecret) is none.
_KEYWORD = (
    r"(?:pass(?:word|wd|phrase)|(?:(?<![a-z])|(?<=db))pass|pwd"
    r"|(?<!existing)(?<!password)(?<!pull)(?<!\d:)secret(?:[_-]?key(?:[_-]?base)?)?"
    r"|token|api[_-]?key|app(?:lication)?[_-]?key|access[_-]?key|account[_-]?key|sharedaccess(?:key|signature)"
    r"|private[_-]?key(?:[_-]?id)?|(?:encryption|signing|integration|routing)[_-]?key|key-data|private-mac|tls-psk"
    r"|credentials?|requirepass|masterauth|rediscli_auth)"
)
#: One of these stands in every text that the keywords match, in lower case.
_WORDS = "pass pwd secret token key signature private-mac tls-psk credential masterauth rediscli_auth"
_QUOTED = r"\\?\"(?:[^\"\\]|\\[^\"]){0,2048}\\?\"|'(?:[^'\\]|\\.){0,2048}'"
# Each pattern keeps what names the secret (group 1) and drops the value. Order matters: the specific first. Every
# repetition is bounded or cannot start again inside itself, so that the time stays proportional to the text. The words
# come first: a text without any of them is not searched for the pattern.
_PATTERNS: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = tuple(
    (tuple(words.split()), re.compile(pattern, flags), replacement)
    for words, pattern, flags, replacement in (
        (
            "private key",
            r"-----BEGIN ([A-Z ]{0,32}PRIVATE KEY(?: BLOCK)?)-----.*?(?:-----END \1-----|\Z)",
            re.DOTALL,
            MASK,
        ),
        ("://", r"(://[^\s:/@'\"]{0,256}:)[^\s@'\"]{1,1024}(@)", 0, rf"\1{MASK}\2"),
        (
            "authorization",
            r"(?i)((?:proxy-)?authorization\\?[\"']?\s{0,4}[:=]\s{0,4}\\?[\"']?)[^\r\n\"']+",
            0,
            rf"\1{MASK}",
        ),
        ("response=", r"(?i)(\bresponse=)\"?[0-9a-f]{32}\"?", 0, rf"\1{MASK}"),
        ("bearer", r"(?i)(\bbearer\s+)[a-z0-9._~+/=-]{12,}", 0, rf"\1{MASK}"),
        ("cookie", r"(?i)((?:set-)?cookie[\"']?\s{0,4}:\s{0,4})[^\r\n]+", 0, rf"\1{MASK}"),
        ("password", r"(?i)(\bpassword\s{1,4})(?:E?'(?:[^']|''){0,1024}'|\"[^\"]{0,1024}\")", 0, rf"\1{MASK}"),
        (
            "identified",
            r"(?i)(\bidentified\s{1,4}by\s{1,4})(?:'(?:[^']|''){0,1024}'|\"[^\"]{0,1024}\")",
            0,
            rf"\1{MASK}",
        ),
        ("sig= key= x-amz-", r"(?i)([?&](?:sig|key|x-amz-signature|x-amz-security-token)=)[^\s&]{8,}", 0, rf"\1{MASK}"),
        (
            "discord .office.com",
            r"(?i)(discord(?:app)?\.com/api/webhooks/\d{1,24}/|\.office\.com/webhook\w{0,8}/)\S+",
            0,
            rf"\1{MASK}",
        ),
        (
            "telegram pagerduty",
            r"(?i)(api\.telegram\.org/bot|events\.pagerduty\.com/integration/)[^\s/]+",
            0,
            rf"\1{MASK}",
        ),
        ('"auth"', r"(?i)(\"auth\"\s{0,4}:\s{0,4})\"[a-z0-9+/=]{12,}\"", 0, rf"\1{MASK}"),
        (
            "curl",
            r"(?i)(\bcurl\b[^\r\n]{0,200}?\s(?:-[a-z]{0,8}u|--user)[ =][\"']?[^\s:\"'$]{1,64}:)(?!//)[^\s\"']+",
            0,
            rf"\1{MASK}",
        ),
        ("mysql", r"(?i)(\bmysql\w{0,8}\b[^\r\n]{0,160}?\s-p)[^\s]+", 0, rf"\1{MASK}"),
        ("redis-cli", r"(?i)(\bredis-cli\b[^\r\n]{0,160}?\s-a\s{1,4})\S+", 0, rf"\1{MASK}"),
        ("ldap", r"(?i)(\bldap[a-z]{3,8}\b[^\r\n]{0,160}?\s-w\s{1,4})\S+", 0, rf"\1{MASK}"),
        ("sshpass", r"(?i)(\bsshpass\s{1,4}-p\s{0,4})\S+", 0, rf"\1{MASK}"),
        (
            "login twine pscp plink",
            r"(?i)(\b(?:(?:docker|podman)\s{1,4}login|twine|pscp|plink)\b[^\r\n]{0,160}?\s-pw?\s{1,4})\S+",
            0,
            rf"\1{MASK}",
        ),
        ("pass:", r"(\bpass:)\S{4,}", 0, rf"\1{MASK}"),
        ("auth", r"(\bAUTH\"?\s{1,4})\S[^\r\n]*", 0, rf"\1{MASK}"),
        (
            "requirepass masterauth",
            r"(?i)(\b(?:requirepass|masterauth)\"?\s{1,4}(?:\d\)\s)?)\"?[^\s\"]{6,}\"?",
            0,
            rf"\1{MASK}",
        ),
        ("setuser user", r"(?i)(\b(?:acl\s+setuser|user)\s\S{1,64}\s(?:on|off)\s[>#])\S+", 0, rf"\1{MASK}"),
        ("login", r"(?i)(\blogin\s{1,4}\S{1,64}\s{1,4}password\s{1,4})\S+", 0, rf"\1{MASK}"),
        ("key token", r"(?i)(\b(?:secret_?access_?key|session_?token)\s{1,4})[a-z0-9+/=]{16,}", 0, rf"\1{MASK}"),
        ("", r"(?m)(^[\w.*-]{1,128}:(?:\d{4,5}|\*):[\w*-]{1,64}:[\w*-]{1,64}:)[^\s:]{6,}$", 0, rf"\1{MASK}"),
        ("", _SHAPES.pattern, 0, MASK),
        (
            _WORDS,
            r"(?i)(" + _KEYWORD + r"\\?[\"']?\s{0,8}(?:[:=]|=>)\s{0,8})(?:" + _QUOTED + r"|[^\s,;&'\"})\]]+)",
            0,
            rf"\1{MASK}",
        ),
        (_WORDS, r"(?i)((?<![\w-])--?(?:\w{1,32}-){0,4}" + _KEYWORD + r"(?:[= ]))(?!-)[^\s]+", 0, rf"\1{MASK}"),
    )
)
# What may stand where a secret is named without being one: a reference, a variable, a mask, a placeholder, a word of
# code or of a sentence, an empty or a boolean value.
_HARMLESS = re.compile(
    r"(?i)(?:\\?[\"']?(?:(?:env|file|k8s):|\*{3,}|\[redacted|<[\w -]{1,40}>|\{\{|!\w|\$[({]|"
    r"(?-i:\$[A-Z_][A-Z0-9_]*[\"']?$)|(?:var|data|local|module|self|os|config|settings)\.[a-z_]|"
    r"(?:true|false|none|null|nil|~|\d{1,4}|str|bytes|string|text|token|password|secret(?:str)?|required|present|missing"
    r"|changed|rotated|expired|invalid|see|raise|return|await)[\"']?\s*$)"
    r"|\\?[\"']{2})"
)
# A private key whose end has not come.
_OPEN_KEY = re.compile(r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----END ).)*\Z", re.DOTALL)
# A call or a look-up in code: only where code puts spaces around what it assigns.
_CALL = re.compile(r"[A-Za-z_][\w.]*[(\[]")


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
        lower = content.lower()
        for words, pattern, replacement in _PATTERNS:
            if words and not any(word in lower for word in words):
                continue
            content = pattern.sub(lambda match, r=replacement: self._replace(match, r), content)  # type: ignore[misc]
        return content

    def _replace(self, match: re.Match[str], replacement: str) -> str:
        whole = match.group(0)
        kept = match.group(1) if match.re.groups and replacement.startswith(r"\1") else ""
        value = whole[len(kept) :]
        if _HARMLESS.match(value) or (kept.endswith("= ") and _CALL.match(value)):
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
            return [self.data(item) for item in value]
        return value

    def _member(self, key: str, value: Any) -> Any:
        if isinstance(value, str) and value and _SECRET_KEY.search(key) and not _HARMLESS.match(value):
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
        if begin >= 0 and len(content) - begin <= self._HELD_KEY and _OPEN_KEY.match(content, begin):
            cut = begin
        elif len(content) - cut > self._HELD_LINE:
            cut = len(content) - max(self._redactor.longest, 256)
        self._held = content[cut:]
        return self._redactor.text(content[:cut])

    def flush(self) -> str:
        """The rest, redacted."""
        rest, self._held = self._held, ""
        return self._redactor.text(rest)


_SECRET_KEY = re.compile(rf"(?i){_KEYWORD}$")
_DSN = re.compile(r"(?i)^[a-z][a-z0-9+.-]*://[^\s:/@]*:[^\s@]+@")


def secret_reason(name: str, value: str) -> str:
    """Why a parameter must be refused as a secret; empty when it need not be.

    Args:
        name: the parameter's name.
        value: its value as text.
    """
    if _SHAPES.search(value) or "PRIVATE KEY-----" in value:
        return "its value has the form of a credential"
    if _DSN.match(value):
        return "its value is an address with a password"
    if value and _SECRET_KEY.search(name) and not _HARMLESS.match(value):
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
