"""What a command of a page does, and which call of the library does the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from runbook_lib.authoring.shell import Command, template, variables
from runbook_lib.secrets import secret_reason

#: Program to the first words after it that only read. Everything that is not here counts as a change.
READS: Mapping[str, tuple[str, ...]] = {
    "kubectl": (
        "get", "describe", "logs", "top", "version", "explain", "diff", "events", "cluster-info", "api-resources",
        "rollout status", "rollout history", "auth can-i", "config current-context", "config view",
        "config get-contexts",
    ),
    "helm": ("list", "ls", "status", "history", "hist", "get", "show", "template", "version", "lint", "search"),
    "gh": ("run list", "run view", "run watch", "pr list", "pr view", "pr status", "pr checks", "repo view",
           "release list", "release view", "workflow list", "workflow view", "issue list", "issue view", "auth status"),
    "docker": ("ps", "images", "logs", "inspect", "version", "info", "stats", "top", "image ls", "container ls"),
    "git": ("status", "log", "diff", "show", "describe", "rev-parse"),
    "systemctl": ("status", "is-active", "is-enabled", "list-units", "show"),
    "redis-cli": ("info", "ping", "slowlog get", "client list", "memory stats", "dbsize", "latency"),
    "terraform": ("plan", "show", "output", "validate", "version", "state list"),
    "aws": ("sts get-caller-identity",),
}  # fmt: skip
_ALWAYS_READ = frozenset({
    "echo", "cat", "ls", "ps", "df", "du", "free", "uptime", "top", "ping", "dig", "nslookup", "host", "journalctl",
    "grep", "tail", "head", "wc", "jq", "date", "whoami", "netstat", "ss", "lsof", "vmstat", "iostat", "traceroute",
    "printf", "true", "pg_isready", "stern",
})  # fmt: skip
#: Read-only words of cloud commands, wherever they stand.
_CLOUD = re.compile(r"^(?:describe|list|get)(?:-|$)")
_KUBECTL_GET: Mapping[str, str] = {
    "pods": "pods", "pod": "pods", "po": "pods",
    "deployment": "deployment", "deployments": "deployment", "deploy": "deployment",
    "events": "events", "event": "events", "ev": "events",
    "hpa": "horizontal_autoscaler", "horizontalpodautoscaler": "horizontal_autoscaler",
    "horizontalpodautoscalers": "horizontal_autoscaler",
    "rs": "rollouts", "replicaset": "rollouts", "replicasets": "rollouts",
    "endpoints": "endpoints", "ep": "endpoints", "endpointslices": "endpoints",
    "resourcequota": "quotas", "resourcequotas": "quotas", "quota": "quotas",
}  # fmt: skip
_KUBECTL_FLAGS = frozenset({
    "-n", "--namespace", "-l", "--selector", "-o", "--output", "--context", "--kubeconfig", "-c", "--container",
    "--sort-by", "--field-selector", "--tail", "--since", "--timeout",
})  # fmt: skip
_STATEMENTS: tuple[tuple[str, str], ...] = (
    (r"pg_blocking_pids|pg_locks", "run.postgres.blocking()"),
    (r"pg_stat_statements", "run.postgres.statements()"),
    (r"pg_stat_activity.*count|count.*pg_stat_activity|max_connections", "run.postgres.saturation()"),
    (r"pg_stat_activity", "run.postgres.activity()"),
    (r"pg_stat_user_tables", "run.postgres.tables()"),
    (r"pg_settings|^\s*show\b", "run.postgres.settings()"),
)
_SECRET_NAME = re.compile(
    r"(?:WEBHOOK|TOKEN|PASSWORD|PASSWD|SECRET|API_?KEY|CREDENTIAL|DSN|DATABASE_URL)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one command is in a runbook.

    Args:
        changes: whether it may change something.
        call: expression that reads the same through the library; empty when there is none.
        looks_at: the field of the answer that the page looks at; empty when it does not say.
        plan: expression that plans the same change; empty for a read with a call.
        kind: kind of action of the plan.
        parameters: name to ``(type, default, description)``.
        literals: name in the workload to the literal of the page, such as ``namespace``.
        secrets: names of variables that hold secrets.
        by_hand: why a person has to do it; empty when the notebook can.
        shows: whether it only prints something.
    """

    changes: bool
    call: str = ""
    looks_at: str = ""
    plan: str = ""
    kind: str = ""
    parameters: Mapping[str, tuple[str, object, str]] = field(default_factory=dict)
    literals: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    by_hand: str = ""
    shows: bool = False


def understand(command: Command) -> Meaning:
    """What a command does; one that is not known counts as a change."""
    if not command.argv:
        return Meaning(False, shows=True)
    program = command.argv[0].rpartition("/")[2]
    secrets = tuple(one for one in re.findall(r"\$\{?([A-Za-z_]\w*)", command.text) if _SECRET_NAME.search(one))
    if secrets or secret_reason("", command.text):
        return _secret(command, secrets)
    if command.needs:
        return Meaning(True, by_hand=f"it needs {command.needs}", parameters=_parameters(command))
    known = _PROGRAMS.get(program)
    found = known(command) if known else None
    return found or _other(command)


def reads_only(argv: Sequence[str]) -> bool:
    """Whether a command is known to change nothing.

    Args:
        argv: its words; options may stand anywhere.
    """
    program = argv[0].rpartition("/")[2]
    words = _words(argv[1:])
    if program in {"curl", "wget", "http"}:
        return program == "curl" and _curl_reads(argv)
    if program == "psql":
        return bool(_statement(argv)) and _selects(_statement(argv))
    if program in {"aws", "gcloud", "az"} and any(_CLOUD.match(word) for word in words[1:4]):
        return True
    if program in _ALWAYS_READ:
        return True
    return any(" ".join(words[: known.count(" ") + 1]).lower() == known for known in READS.get(program, ()))


def guarded(command: Command) -> Meaning:
    """The command as a plan behind the guard: words without a shell, its own approval."""
    literals = _literals(command.argv)
    # The place is a parameter: the same page serves another namespace.
    place = literals.get("namespace", "")
    words = (
        [re.sub(rf"^(--namespace=|)({re.escape(place)})$", r"\1$namespace", w) for w in command.argv]
        if place
        else list(command.argv)
    )
    line = template(words)
    names = variables(" ".join(words))
    reads = ", reads=True" if reads_only(command.argv) else ""
    given = "".join(f", {name}={name}" for name in names)
    return Meaning(
        changes=not reads,
        plan=f"actions.command(run, {_literal(line)}{reads}{given})",
        kind="command",
        parameters=_parameters(command),
        literals=literals,
    )


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name holds a secret."""
    return bool(_SECRET_NAME.search(name))


def _other(command: Command) -> Meaning:
    if command.argv[0] in {"echo", "printf", "true", "date", "cd", "set", "sleep"}:
        return Meaning(False, shows=True, parameters=_parameters(command))
    if re.search(r"(?:^|\s)(?:-it|-ti|-i|--stdin|--tty|-f|--follow|-w|--watch)(?:\s|$)", command.text) and (
        command.argv[0] in {"kubectl", "docker", "tail", "journalctl", "stern", "ssh"}
        and not {"apply", "create", "delete", "replace"} & set(command.argv)
    ):
        return Meaning(True, by_hand="it does not end by itself", literals=_literals(command.argv),
                       parameters=_parameters(command))  # fmt: skip
    return guarded(command)


def _secret(command: Command, secrets: tuple[str, ...]) -> Meaning:
    if any("SLACK" in name.upper() for name in secrets) and command.argv[0] == "curl":
        if text := _slack_text(command.argv):
            plan = f"actions.message(run, {_literal(text)}, key=run.id)"
            return Meaning(True, plan=plan, kind="notify", secrets=secrets)
        return Meaning(True, secrets=secrets, by_hand="use: runbook run escalate")
    return Meaning(True, secrets=secrets, by_hand="it needs a secret")


def _kubectl(command: Command) -> Meaning | None:
    words = _words(command.argv[1:], _KUBECTL_FLAGS)
    verb, rest = (words[0], words[1:]) if words else ("", [])
    kind = rest[0].partition("/")[0] if rest else ""
    literals, parameters = _literals(command.argv), _parameters(command)
    if verb == "scale" and (replicas := _option(command.argv, "--replicas")):
        return _scale(replicas, literals, parameters)
    if verb == "rollout" and kind == "status":
        return Meaning(
            False, call="run.kubernetes.deployment()", looks_at="complete", literals=literals, parameters=parameters
        )
    call = ""
    if verb == "get" and not {"-w", "--watch"} & set(command.argv):
        call = _KUBECTL_GET.get(kind.lower(), "")
    elif verb == "describe" and kind.lower() in {"deployment", "deploy"}:
        call = "deployment"
    elif verb == "rollout" and kind == "history":
        call = "rollouts"
    elif verb == "top" and kind in {"pod", "pods"}:
        call = "pod_usage"
    elif verb in {"events", "version"}:
        call = {"events": "events", "version": "server"}[verb]
    return Meaning(False, call=f"run.kubernetes.{call}()", literals=literals, parameters=parameters) if call else None


def _scale(replicas: str, literals: Mapping[str, str], parameters: Mapping[str, tuple[str, object, str]]) -> Meaning:
    plan = "actions.scale(run.kubernetes, replicas=replicas, service=service, environment=environment)"
    number = int(replicas) if replicas.isdecimal() and len(replicas) < 6 else 0
    others = {name: value for name, value in parameters.items() if name not in variables(replicas)}
    wanted = {"replicas": ("int", number, "pods to run when more pods are the remedy"), **others}
    return Meaning(True, plan=plan, kind="scale", parameters=wanted, literals=literals)


def _helm(command: Command) -> Meaning | None:
    words = _words(command.argv[1:], _KUBECTL_FLAGS | {"--set", "--values", "-f", "--revision", "--max"})
    literals = _literals(command.argv)
    if words and words[0] in {"history", "hist", "status", "get", "upgrade", "rollback"}:
        name = words[1] if words[0] != "get" and len(words) > 1 else ""
        literals = {**literals, **({"release": name} if _literal_name(name) else {})}
        if words[0] == "upgrade" and len(words) > 2 and _literal_name(words[2].strip("./").replace("/", "-")):
            literals["chart"] = words[2]
    if words and (call := {"history": "history", "hist": "history", "status": "release"}.get(words[0], "")):
        return Meaning(False, call=f"run.helm.{call}()", literals=literals, parameters=_parameters(command))
    parameters = _parameters(command)
    if words and words[0] == "rollback":
        # Without a revision Helm takes the one before, which may be the one that failed; ours takes the last good one.
        named = words[2] if len(words) > 2 else "0"
        wanted = int(named) if named.isdecimal() and len(named) < 6 else 0
        told = ("int", wanted, "revision to return to; 0 for the last that was recorded good")
        plan = "actions.rollback(run, revision=revision)"
        return Meaning(True, plan=plan, kind="rollback", parameters={"revision": told}, literals=literals)
    if words and words[0] == "upgrade" and (tag := _image_tag(command.argv)):
        given = variables(tag)
        value = given[0] if given else "image_tag"
        parameters.setdefault(value, ("str", "" if given else tag, "tag of the image to deploy"))
        plan = f"actions.deploy(run, image_tag={value})"
        return Meaning(True, plan=plan, kind="deploy", parameters=parameters, literals=literals)
    found = guarded(command)
    return Meaning(found.changes, plan=found.plan, kind=found.kind, parameters=found.parameters, literals=literals)


def _image_tag(argv: Sequence[str]) -> str:
    """The tag of an upgrade that changes nothing but the image; empty for any other upgrade."""
    sets = [argv[i + 1] for i, word in enumerate(argv[:-1]) if word == "--set"]
    sets += [word.removeprefix("--set=") for word in argv if word.startswith("--set=")]
    others = {word.partition("=")[0] for word in argv if word.startswith("-")}
    plain = {"--set", "--values", "-f", "-n", "--namespace", "--wait", "--timeout", "--install", "-i"}
    if len(sets) != 1 or not sets[0].startswith("image.tag=") or others - plain:
        return ""
    tag = sets[0].removeprefix("image.tag=")
    return tag if re.fullmatch(r"[\w.-]+|\$\{?\w+\}?|<[\w -]+>", tag) else ""


def _slack_text(argv: Sequence[str]) -> str:
    """The text of a message to a webhook; empty when it is no plain text."""
    body = next((word for name in ("--data", "-d", "--data-raw", "--json") if (word := _option(argv, name))), "")
    try:
        text = json.loads(body)["text"]
    except (ValueError, KeyError, TypeError):
        return ""
    return text if isinstance(text, str) and not variables(text) else ""


def _curl(command: Command) -> Meaning | None:
    address = next((word for word in command.argv[1:] if "://" in word), "")
    if not address or not _curl_reads(command.argv):
        return None
    path = urlsplit(address).path.rstrip("/").lower() or "/"
    fields = [word for part in command.filters if part[:1] == ("jq",) for word in part[1:] if word.startswith(".")]
    name = fields[0].strip(".") if fields and re.fullmatch(r"\.[A-Za-z_]\w*", fields[0]) else ""
    parameters = _parameters(command)
    if re.search(r"health|ready|live|ping", path):
        return Meaning(False, call="run.service_probe.health()", looks_at=name, parameters=parameters)
    if re.search(r"status|version|info", path):
        return Meaning(False, call="run.service_probe.status()", looks_at=name, parameters=parameters)
    return None


def _gh(command: Command) -> Meaning | None:
    words = _words(command.argv[1:])
    if words[:2] != ["run", "list"]:
        return None
    wanted = _option(command.argv, "--json").partition(",")[0]
    names = {"headBranch": "branch", "headSha": "commit", "workflowName": "workflow", "databaseId": "id"}
    return Meaning(False, call="run.github.runs()", looks_at=names.get(wanted, wanted), parameters=_parameters(command))


def _psql(command: Command) -> Meaning | None:
    statement = _statement(command.argv)
    if not _selects(statement):
        return None
    for pattern, call in _STATEMENTS:
        if re.search(pattern, statement, re.IGNORECASE | re.DOTALL):
            return Meaning(False, call=call, parameters=_parameters(command))
    return None


def _redis(command: Command) -> Meaning | None:
    line = " ".join(command.argv[1:]).lower()
    for pattern, call in (("slowlog get", "slowlog"), ("latency|ping", "latency_seconds"), (r"\binfo\b", "info")):
        if re.search(pattern, line):
            return Meaning(False, call=f"run.redis.{call}()", parameters=_parameters(command))
    return None


_PROGRAMS: Mapping[str, Callable[[Command], Meaning | None]] = {
    "kubectl": _kubectl,
    "helm": _helm,
    "curl": _curl,
    "gh": _gh,
    "psql": _psql,
    "redis-cli": _redis,
}


def _curl_reads(argv: Sequence[str]) -> bool:
    method = _option(argv, "-X") or _option(argv, "--request") or "GET"
    sends = any(re.match(r"-(?:d|F|T|o|O|K|u)|--(?:data|form|upload|output|remote|config|user|json)", w) for w in argv)
    return method.upper() in {"GET", "HEAD"} and not sends


def _statement(argv: Sequence[str]) -> str:
    return _option(argv, "-c") or _option(argv, "--command")


def _selects(statement: str) -> bool:
    """Whether a statement is one SELECT, SHOW or plain EXPLAIN that calls nothing known to act."""
    one = statement.strip().rstrip(";")
    acts = (
        r"\b(?:pg_terminate_backend|pg_cancel_backend|pg_reload_conf|set_config|lo_\w+|dblink\w*|nextval|setval|into)\b"
    )
    begins = re.match(r"(?:select|show|table|explain(?!\s*\(?\s*analy))\b", one, re.IGNORECASE)
    return bool(begins) and ";" not in one and not re.search(acts, one, re.IGNORECASE)


def _parameters(command: Command) -> dict[str, tuple[str, object, str]]:
    where = f"of the command on line {command.line}" if command.line else "of a command"
    text = " ".join((command.text, *(word for part in command.filters for word in part)))
    names = [name for name in variables(text) if not _SECRET_NAME.search(name)]
    return {name: ("str", "", f"{name.replace('_', ' ')} {where}") for name in names}


def _literals(argv: Sequence[str]) -> dict[str, str]:
    found = {}
    namespace = _option(argv, "-n") or _option(argv, "--namespace")
    if _literal_name(namespace):
        found["namespace"] = namespace
    for index, word in enumerate(argv):
        kind, _, name = word.partition("/")
        if kind.lower() in {"deployment", "deployments", "deploy", "deployment.apps"}:
            name = name or (argv[index + 1] if index + 1 < len(argv) else "")
            if _literal_name(name):
                found["deployment"] = name
    return found


def _literal_name(text: str) -> bool:
    return bool(re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", text))


def _option(argv: Sequence[str], name: str) -> str:
    for index, word in enumerate(argv):
        if word == name and index + 1 < len(argv):
            return argv[index + 1]
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return ""


def _words(argv: Sequence[str], takes_value: frozenset[str] | set[str] = frozenset()) -> list[str]:
    """Words that are no options, without the values of options that take one."""
    found, skip = [], False
    for word in argv:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in (takes_value or _KUBECTL_FLAGS)
        else:
            found.append(word)
    return found


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
