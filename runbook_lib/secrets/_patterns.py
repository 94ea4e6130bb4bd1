"""What secrets look like: how they are named, how their issuers shape them, and where a search for them can begin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

MASK = "[redacted]"
#: Text in lower case -> where a match can begin, rising.
Starts = Callable[[str], Iterable[int]]

# A credential by its own look, as its issuer documents it.
SHAPES = re.compile(
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
#: How the shapes begin, in lower case; the one that begins with what it likes has a rule of its own.
_SHAPE_WORDS = (
    "https://hooks.slack.com/|eyj|scram-sha-|$1$|$2a|$2b|$2y|$5$|$6$|$y$|$apr1$|xox|xapp-|gho_|ghp_|ghs_|ghu_|ghr_"
    "|github_pat_|glpat-|glrt-|gldt-|glft-|glptt-|glcbt-|glsoat-|akia|asia|sk_|rk_|whsec_|sk-|aiza|ya29.|1//0|npm_"
    "|pypi-|rubygems_|dckr_pat_|hvs.|hvb.|doo_v1_|dop_v1_|dor_v1_|sg.|key-|glsa_|glc_|hf_|nrak-|lin_api_|shpat_|shpca_"
    "|shppa_|shpss_|dapi|pmak-|dp.pt.|dp.st.|dp.ct.|dp.sa.|atatt3|atbb|sq0|fm1_|fm2_|pscale_|sntrys_|sbp_|pul-"
    "|age-secret-key-1|md5"
)
# The last word of what names a secret. A name of a Kubernetes secret (existingSecret, passwordSecret) is none.
KEYWORD = (
    r"(?:pass(?:word|wd|phrase)|(?:(?<![a-z])|(?<=db))pass|pwd"
    r"|(?<!existing)(?<!password)(?<!pull)(?<!\d:)secret(?:[_-]?key(?:[_-]?base)?)?"
    r"|token|api[_-]?key|app(?:lication)?[_-]?key|access[_-]?key|account[_-]?key|sharedaccess(?:key|signature)"
    r"|private[_-]?key(?:[_-]?id)?|(?:encryption|signing|integration|routing)[_-]?key|key-data|private-mac|tls-psk"
    r"|credentials?|requirepass|masterauth|rediscli_auth)"
)
# How the keywords end, in lower case, and how far before its : or = one can begin.
_KEYWORD_ENDS = (
    *("password", "passwd", "passphrase", "pass", "pwd", "secret", "token", "sharedaccesssignature", "key-data"),
    *("private-mac", "tls-psk", "credential", "credentials", "requirepass", "masterauth", "rediscli_auth"),
    *(f"secret{a}key{b}base" for a in ("", "_", "-") for b in ("", "_", "-")),
    *(f"private{a}key{b}id" for a in ("", "_", "-") for b in ("", "_", "-")),
    *(
        f"{kind}{between}key"
        for between in ("", "_", "-")
        for kind in (
            *("secret", "api", "app", "application", "access", "account", "sharedaccess", "private", "encryption"),
            *("signing", "integration", "routing"),
        )
    ),
)
_KEYWORD_REACH = 64
_KEYWORD_BEFORE = re.compile(r"(?i)" + KEYWORD + r"\\?[\"']?\s{0,8}\Z")
_ASSIGNED = re.compile(r"(?<=[a-z\"'\\\s])[:=]")
_QUOTED = r"\\?\"(?:[^\"\\]|\\[^\"]){0,2048}\\?\"|'(?:[^'\\]|\\.){0,2048}'"


def in_lower_case(content: str) -> str:
    """``content`` in lower case, each character in its old place."""
    lower = content.lower()
    if len(lower) != len(content):
        lower = "".join(one if len(one.lower()) != 1 else one.lower() for one in content)
    return lower


def _beginning(words: str, lead: int = 0) -> Starts:
    """Matches begin ``lead`` characters before one of the words (split by ``|``), in any case."""

    def starts(lower: str) -> list[int]:
        found = []
        for word in words.split("|"):
            at = lower.find(word)
            while at >= 0:
                if at >= lead:
                    found.append(at - lead)
                at = lower.find(word, at + 1)
        return sorted(found)

    return starts


def _assigned(lower: str) -> Iterator[int]:
    """Where a keyword stands before a : or =, rising: there are far fewer of these than there are keywords."""
    for match in _ASSIGNED.finditer(lower):
        at = match.start()
        if lower[max(at - 24, 0) : at].rstrip().rstrip("\"'\\").endswith(_KEYWORD_ENDS):
            keyword = _KEYWORD_BEFORE.search(lower, max(at - _KEYWORD_REACH, 0), at)
            if keyword is not None:
                yield keyword.start()


# Each pattern keeps what names the secret (group 1) and drops the value. Order matters: the specific first. Every
# repetition is bounded or cannot start again inside itself, so that the time stays proportional to the text. Where a
# match can begin comes first: finding words is many times faster than searching for patterns.
RULES: tuple[tuple[Starts | None, re.Pattern[str], str], ...] = tuple(
    (starts, re.compile(pattern, flags), replacement)
    for starts, pattern, flags, replacement in (
        (
            _beginning("-----begin "),
            r"-----BEGIN ([A-Z ]{0,32}PRIVATE KEY(?: BLOCK)?)-----.*?(?:-----END \1-----|\Z)",
            re.DOTALL,
            MASK,
        ),
        (_beginning("://"), r"(://[^\s:/@'\"]{0,256}:)[^\s@'\"]{1,1024}(@)", 0, rf"\1{MASK}\2"),
        (
            _beginning("authorization"),
            r"(?i)((?:proxy-)?authorization\\?[\"']?\s{0,4}[:=]\s{0,4}\\?[\"']?)[^\r\n\"']+",
            0,
            rf"\1{MASK}",
        ),
        (_beginning("response="), r"(?i)(\bresponse=)\"?[0-9a-f]{32}\"?", 0, rf"\1{MASK}"),
        (_beginning("bearer"), r"(?i)(\bbearer\s+)[a-z0-9._~+/=-]{12,}", 0, rf"\1{MASK}"),
        (_beginning("cookie"), r"(?i)((?:set-)?cookie[\"']?\s{0,4}:\s{0,4})[^\r\n]+", 0, rf"\1{MASK}"),
        (
            _beginning("password"),
            r"(?i)(\bpassword\s{1,4})(?:E?'(?:[^']|''){0,1024}'|\"[^\"]{0,1024}\")",
            0,
            rf"\1{MASK}",
        ),
        (
            _beginning("identified"),
            r"(?i)(\bidentified\s{1,4}by\s{1,4})(?:'(?:[^']|''){0,1024}'|\"[^\"]{0,1024}\")",
            0,
            rf"\1{MASK}",
        ),
        (
            _beginning("?sig=|&sig=|?key=|&key=|?x-amz-|&x-amz-"),
            r"(?i)([?&](?:sig|key|x-amz-signature|x-amz-security-token)=)[^\s&]{8,}",
            0,
            rf"\1{MASK}",
        ),
        (
            _beginning("discord|.office.com"),
            r"(?i)(discord(?:app)?\.com/api/webhooks/\d{1,24}/|\.office\.com/webhook\w{0,8}/)\S+",
            0,
            rf"\1{MASK}",
        ),
        (
            _beginning("api.telegram.org|events.pagerduty.com"),
            r"(?i)(api\.telegram\.org/bot|events\.pagerduty\.com/integration/)[^\s/]+",
            0,
            rf"\1{MASK}",
        ),
        (_beginning('"auth"'), r"(?i)(\"auth\"\s{0,4}:\s{0,4})\"[a-z0-9+/=]{12,}\"", 0, rf"\1{MASK}"),
        (
            _beginning("curl"),
            r"(?i)(\bcurl\b[^\r\n]{0,200}?\s(?:-[a-z]{0,8}u|--user)[ =][\"']?[^\s:\"'$]{1,64}:)(?!//)[^\s\"']+",
            0,
            rf"\1{MASK}",
        ),
        (_beginning("mysql"), r"(?i)(\bmysql\w{0,8}\b[^\r\n]{0,160}?\s-p)[^\s]+", 0, rf"\1{MASK}"),
        (_beginning("redis-cli"), r"(?i)(\bredis-cli\b[^\r\n]{0,160}?\s-a\s{1,4})\S+", 0, rf"\1{MASK}"),
        (_beginning("ldap"), r"(?i)(\bldap[a-z]{3,8}\b[^\r\n]{0,160}?\s-w\s{1,4})\S+", 0, rf"\1{MASK}"),
        (_beginning("sshpass"), r"(?i)(\bsshpass\s{1,4}-p\s{0,4})\S+", 0, rf"\1{MASK}"),
        (
            _beginning("docker|podman|twine|pscp|plink"),
            r"(?i)(\b(?:(?:docker|podman)\s{1,4}login|twine|pscp|plink)\b[^\r\n]{0,160}?\s-pw?\s{1,4})\S+",
            0,
            rf"\1{MASK}",
        ),
        (_beginning("pass:"), r"(\bpass:)\S{4,}", 0, rf"\1{MASK}"),
        (_beginning("auth"), r"(\bAUTH\"?\s{1,4})\S[^\r\n]*", 0, rf"\1{MASK}"),
        (
            _beginning("requirepass|masterauth"),
            r"(?i)(\b(?:requirepass|masterauth)\"?\s{1,4}(?:\d\)\s)?)\"?[^\s\"]{6,}\"?",
            0,
            rf"\1{MASK}",
        ),
        (_beginning("acl|user"), r"(?i)(\b(?:acl\s+setuser|user)\s\S{1,64}\s(?:on|off)\s[>#])\S+", 0, rf"\1{MASK}"),
        (_beginning("login"), r"(?i)(\blogin\s{1,4}\S{1,64}\s{1,4}password\s{1,4})\S+", 0, rf"\1{MASK}"),
        (
            _beginning("secret|session"),
            r"(?i)(\b(?:secret_?access_?key|session_?token)\s{1,4})[a-z0-9+/=]{16,}",
            0,
            rf"\1{MASK}",
        ),
        (None, r"(?m)(^[\w.*-]{1,128}:(?:\d{4,5}|\*):[\w*-]{1,64}:[\w*-]{1,64}:)[^\s:]{6,}$", 0, rf"\1{MASK}"),
        (_beginning(_SHAPE_WORDS), SHAPES.pattern, 0, MASK),
        (_beginning(".atlasv1.", 14), SHAPES.pattern, 0, MASK),
        (
            _assigned,
            r"(?i)(" + KEYWORD + r"\\?[\"']?\s{0,8}(?:[:=]|=>)\s{0,8})(?:" + _QUOTED + r"|[^\s,;&'\"})\]]+)",
            0,
            rf"\1{MASK}",
        ),
        (None, r"(?i)((?<![\w-])--?(?:\w{1,32}-){0,4}" + KEYWORD + r"(?:[= ]))(?!-)[^\s]+", 0, rf"\1{MASK}"),
    )
)
# What may stand where a secret is named without being one: a reference, a variable, a mask, a placeholder, a word of
# code or of a sentence, an empty or a boolean value.
HARMLESS = re.compile(
    r"(?i)(?:\\?[\"']?(?:(?:env|file|k8s):|\*{3,}|\[redacted|<[\w -]{1,40}>|\{\{|!\w|\$[({]|"
    r"(?-i:\$[A-Z_][A-Z0-9_]*[\"']?$)|(?:var|data|local|module|self|os|config|settings)\.[a-z_]|"
    r"(?:true|false|none|null|nil|~|\d{1,4}|str|bytes|string|text|token|password|secret(?:str)?|required|present|missing"
    r"|changed|rotated|expired|invalid|see|raise|return|await)[\"']?\s*$)"
    r"|\\?[\"']{2})"
)
# A moment as RFC 3339 or ISO 8601 writes it, which no rule above fits.
_MOMENT = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?"
#: Moments, one a line: a chart holds a hundred thousand of them.
MOMENTS = re.compile(rf"(?:{_MOMENT}\n)*+{_MOMENT}", re.ASCII)
# A private key whose end has not come.
OPEN_KEY = re.compile(r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----END ).)*\Z", re.DOTALL)
# A call or a look-up in code: only where code puts spaces around what it assigns.
CALL = re.compile(r"[A-Za-z_][\w.]*[(\[]")
