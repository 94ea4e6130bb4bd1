"""What the preflight says of the role that undoes migrations."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runbook_lib.model import Evidence, Gap
from runbook_lib.model.times import utc_now
from runbook_lib.run.preflight import migrating_role

GOOD = {"role": "rb", "owner": "app", "exists": True, "may_become_owner": True, "not_owned": [], "no_create": []}
RUN: Any = SimpleNamespace(environment=SimpleNamespace(name="prod", endpoints={}))


@pytest.mark.parametrize(
    ("change", "status", "observed", "fix"),
    [
        pytest.param({}, "passed", "rb becomes app", "", id="good"),
        pytest.param({"exists": False}, "failed", "no role app", "migrate_role", id="no-owner"),
        pytest.param({"may_become_owner": False}, "failed", "rb may not become app", "GRANT app TO rb", id="no-member"),
        pytest.param({"not_owned": ["a.b"]}, "failed", "does not own a.b", "OWNER TO app", id="another-owner"),
        pytest.param({"no_create": ["a"]}, "failed", "may not create in a", "GRANT CREATE", id="no-way-forward"),
    ],
)
def test_missing_right_is_named_with_its_fix(change: dict[str, Any], status: str, observed: str, fix: str) -> None:
    """The first right that is missing, for the do or for the way back, stands with the statement that mends it."""
    data = {**GOOD, **change}
    answer = Evidence("postgres", "migrate_permissions", "rights", "", "SELECT", {}, None, utc_now(), data)
    check = migrating_role(answer, RUN)
    assert (status, True) == (str(check.status), check.needed)
    assert (True, True) == (observed in check.observed, fix in check.fix), check


def test_role_that_cannot_be_asked_is_unknown() -> None:
    """A role that is not in the catalogue, or cannot log in, is not known to have its rights."""
    answer = Gap("postgres", "migrate_permissions", "rights", "migrate_user is not set", "denied", True, utc_now())
    assert "unknown" == str(migrating_role(answer, RUN).status)
