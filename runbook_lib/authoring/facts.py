"""What a page says about its service: owner, contacts, objectives, links, tools; as a table for the catalogue."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runbook_lib.authoring.markdown import Block, plain

_KEYED = re.compile(r"^\s*(?:\*\*|__)?(?P<key>[A-Za-z][\w /&()-]{1,40}?)(?:\*\*|__)?\s*:\s*(?:\*\*|__)?\s*(?P<value>\S.*)$", re.DOTALL)  # fmt: skip  # noqa: E501
_LINK = re.compile(r"\[([^\]]+)\]\((https?://[^)\s]+)\)|(?<!\()(https?://[^\s)>`\"']+)")
_AVAILABILITY = re.compile(r"(\d{2,3}(?:\.\d+)?)\s*%.*\b(?:uptime|availab|success)", re.IGNORECASE)
_LATENCY = re.compile(r"\bp(\d{2}(?:\.\d+)?)\b.{0,40}?(?:<|below|under|less than)=?\s*(\d+(?:\.\d+)?)\s*(ms|s\b|sec)", re.IGNORECASE)  # fmt: skip  # noqa: E501
_TOOL = re.compile(r"^`?([a-z][a-z0-9_.-]{1,30})`?\s*[(:]?\s*(?:v|version\s*)?(\d+(?:\.\d+)*)\+?\s*\)?", re.IGNORECASE)
_ADDRESS = re.compile(r"#[\w-]+|[\w.+-]+@[\w-]+\.[\w.-]+")
_SYSTEMS = (
    ("postgres", r"postgres|database|\bdb\b"),
    ("redis", r"redis|cache|valkey"),
    ("kubernetes", r"kubernetes|cluster"),
)


@dataclass(slots=True)
class Facts:
    """What was found, in the words of the catalogue's table of a service.

    Args:
        values: ``description`` and ``owner``.
        tables: ``contacts``, ``dependencies``, ``tools``, ``links``, ``workload``.
        lists: ``access`` and ``alerts``.
        objectives: name to its settings.
        secrets: variables that hold a secret; the catalogue gets their names.
    """

    values: dict[str, str] = field(default_factory=dict)
    tables: dict[str, dict[str, str]] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    objectives: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)

    def take(self, block: Block, title: str) -> bool:
        """Keep what a block says; False when it says nothing about the service.

        Args:
            block: a list item or paragraph.
            title: heading of its section.
        """
        text, around = block.text.strip(), f"{title} {block.lead}".lower()
        keyed = _KEYED.match(text)
        key = keyed["key"].strip().lower() if keyed else ""
        value = keyed["value"].strip() if keyed else text
        return (
            self._objective(text, f"{around} {key}")
            or self._named(key, value)
            or self._listed(text, around)
            or self._linked(key, value, around)
        )

    def toml(self, name: str) -> str:
        """The table of a service with everything that was found; what the page does not say is left to be filled in.

        Args:
            name: key of the service.
        """
        head = f"services.{_key(name)}"
        lines = [f"[{head}]"]
        for key in ("description", "owner"):
            lines.append(f"{key} = {_text(self.values.get(key, 'not said by the page'))}")
        lines += [f"{key} = [{', '.join(map(_text, values))}]" for key, values in sorted(self.lists.items())]
        for key, table in sorted(self.tables.items()):
            lines += ["", f"[{head}.{key}]", *(f"{_key(one)} = {_text(text)}" for one, text in sorted(table.items()))]
        for key in () if "workload" in self.tables else ("workload",):
            lines += ["", f"[{head}.{key}]"]
        for key, settings in sorted(self.objectives.items()):
            lines += ["", f"[{head}.objectives.{key}]"]
            lines += [f"{one} = {json.dumps(value)}" for one, value in settings.items()]
        if not self.objectives:
            lines += ["", f"[{head}.objectives]"]
        for secret in dict.fromkeys(self.secrets):
            lines += ["", f"# {secret} is a secret: the environment's endpoint names it as env:{secret}"]
        return "\n".join(lines) + "\n"

    def _objective(self, text: str, around: str) -> bool:
        if not re.search(r"\bsl[oia]s?\b|objective|target", around):
            return False
        availability, latency = _AVAILABILITY.search(text), _LATENCY.search(text)
        if availability and 0 < float(availability[1]) < 100:
            days = 7 if "week" in text.lower() else 90 if "quarter" in text.lower() else 30
            target = round(float(availability[1]) / 100, 9)
            self.objectives["availability"] = {"kind": "availability", "target": target, "window_days": days}
        if latency and 0 < float(latency[1]) < 100:
            seconds = float(latency[2]) * (0.001 if latency[3].lower() == "ms" else 1)
            target = round(float(latency[1]) / 100, 9)
            self.objectives["latency"] = {"kind": "latency", "target": target, "threshold_seconds": round(seconds, 9)}
        return bool(availability or latency)

    def _named(self, key: str, value: str) -> bool:
        if key in {"description", "summary", "purpose", "service"}:
            self.values.setdefault("description", plain(value))
        elif re.search(r"\bowner|\bowning|^team$|maintainer", key):
            self.values.setdefault("owner", plain(value))
        elif re.search(r"contact|on-?call|escalat", key):
            role = "secondary" if re.search(r"second|backup|escalat", key) else "primary"
            address = plain(value).replace("`", "")
            # The first one that is named stays; another one is kept under its own words.
            self.tables.setdefault("contacts", {}).setdefault(role, _contact(address))
        elif re.search(r"alert(?:s|ing)? (?:rout|chann)|^alerts?$|paging", key):
            self.lists.setdefault("alerts", []).extend(_alerts(plain(value).replace("`", "")))
        else:
            return False
        return True

    def _listed(self, text: str, around: str) -> bool:
        tool = _TOOL.match(plain(text))
        if re.search(r"\btools?\b|software|versions?", around) and tool:
            self.tables.setdefault("tools", {})[tool[1].lower()] = tool[2]
        elif re.search(r"\baccess\b|permission", around) and len(text) < 200:
            self.lists.setdefault("access", []).append(plain(text))
        elif re.search(r"dependenc|upstream", around) and len(text) < 200:
            name = next((name for name, pattern in _SYSTEMS if re.search(pattern, text, re.IGNORECASE)), "")
            self.tables.setdefault("dependencies", {})[name or _slug(text)] = plain(text)
        else:
            return False
        return True

    def _linked(self, key: str, value: str, around: str) -> bool:
        found = _LINK.search(value)
        if not found or not re.search(r"dashboard|log|runbook|trace|link|graph|monitor|wiki|doc", f"{key} {around}"):
            return False
        words = f"{key} {found[1] or ''}".lower()
        name = "logs" if "log" in words else "dashboard" if "dashboard" in words else _slug(found[1] or key or "page")
        self.tables.setdefault("links", {}).setdefault(name, found[2] or found[3])
        return True


def differences(found: Facts, known: Mapping[str, Any]) -> list[str]:
    """What the page says and the catalogue does not, or says otherwise, one line each.

    Args:
        found: the page's facts.
        known: the table of the service in ``runbook.toml``, parsed; empty when there is none.
    """
    told = []
    tables: dict[str, Mapping[str, Any]] = {**found.tables, "objectives": found.objectives}
    for key, table in tables.items():
        have = known.get(key, {})
        told += [f"{key}.{one}" for one, value in table.items() if _other(have.get(one), value)]
    for key, values in found.lists.items():
        told += [f"{key}: {value}" for value in values if value not in known.get(key, [])]
    told += [key for key, value in found.values.items() if key not in known and value]
    return told


def _other(known: Any, found: Any) -> bool:
    if isinstance(known, str) and isinstance(found, str):
        # The catalogue may know more of a link (its window) or of a sentence than the page does.
        return not (known == found or known.startswith(found) or known.lower() in found.lower())
    return bool(known != found)


def _contact(address: str) -> str:
    found = _ADDRESS.search(address)
    place = found[0] if found else address
    system = "slack" if place.startswith("#") else "pagerduty" if "pagerduty" in address.lower() else ""
    return f"{system}:{place}" if system else place


def _alerts(text: str) -> list[str]:
    found = []
    for part in re.split(r"\s*/\s*|,\s*|\s+and\s+", text):
        if "#" in part:
            found.append(_contact(part))
        elif "pagerduty" in part.lower():
            found.append("pagerduty:" + re.sub(r"(?i)\s*pagerduty\s*:?\s*", "", part).strip(" ."))
        elif part:
            found.append(part)
    return found


def _slug(text: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", text.lower())[:5]) or "page"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _text(value: str) -> str:
    # A JSON text is a TOML text, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
