"""Which alerts have a runbook, which runbooks an alert, and when each runbook was last proven."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.errors import UsageError
from runbook_lib.headless.notebooks import named_in

#: Annotations of an alert rule that name its runbook.
ANNOTATIONS = ("runbook", "runbook_url")
#: How a run may end and still prove its runbook: it came to its end and said what it found.
PROVEN = frozenset({"succeeded", "attention", "partial"})


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert rule.

    Args:
        name: of the alert.
        wish: what its annotations name; empty when they name nothing.
        file: where it stands.
    """

    name: str
    wish: str
    file: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What covers what.

    Args:
        covered: alert to its runbook.
        without_runbook: alerts that lead nowhere.
        broken: alert to the runbook that it names and that does not exist.
        without_alert: runbooks that no alert leads to.
        proven: runbook to the time of its last proof, RFC 3339; empty when there is none.
    """

    covered: Mapping[str, str]
    without_runbook: tuple[str, ...]
    broken: Mapping[str, str]
    without_alert: tuple[str, ...]
    proven: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether every alert leads to a runbook that exists."""
        return not self.without_runbook and not self.broken

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "covered": dict(self.covered),
            "without_runbook": list(self.without_runbook),
            "broken": dict(self.broken),
            "without_alert": list(self.without_alert),
            "proven": dict(self.proven),
        }


def rules(paths: Iterable[Path]) -> tuple[Rule, ...]:
    """The alert rules in rule files of Prometheus, also inside a PrometheusRule of its operator.

    Args:
        paths: YAML files.

    Raises:
        UsageError: a file cannot be read or holds no rule groups.
    """
    import yaml

    found: list[Rule] = []
    for path in paths:
        try:
            documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
            groups = [
                group
                for document in documents
                if document is not None
                for group in (document.get("spec") or document)["groups"]
            ]
            found += [
                Rule(str(rule["alert"]), _wish(rule.get("annotations") or {}), str(path))
                for group in groups
                for rule in group.get("rules") or ()
                if "alert" in rule
            ]
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
        except (UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path}: holds no rule groups of Prometheus: {type(error).__name__}: {error}") from error
    return tuple(found)


def coverage(
    found: Iterable[Rule], routes: Mapping[str, str], runbooks: Iterable[str], proven: Mapping[str, str]
) -> Coverage:
    """Hold alerts and runbooks against each other.

    Args:
        found: the alert rules.
        routes: alert to runbook, as the hook has it; comes before an annotation.
        runbooks: names of the runbooks there are.
        proven: runbook to the time of its last proof.
    """
    known = set(runbooks)
    wishes = {rule.name: routes.get(rule.name, rule.wish) for rule in found}
    return Coverage(
        covered={alert: name for alert, name in sorted(wishes.items()) if name in known},
        without_runbook=tuple(sorted(alert for alert, name in wishes.items() if not name)),
        broken={alert: name for alert, name in sorted(wishes.items()) if name and name not in known},
        without_alert=tuple(sorted(known - set(wishes.values()))),
        proven={name: proven.get(name, "") for name in sorted(known)},
    )


def _wish(annotations: Mapping[str, Any]) -> str:
    return next((name for key in ANNOTATIONS if (name := named_in(str(annotations.get(key, ""))))), "")
