"""Types of Kubernetes objects: which fields exist, their numbers, and how lists merge (see ``generate.py``)."""

from __future__ import annotations

from runbook_lib.lab.controlplane.schema.types import Field, Type, named, parse

__all__ = ["Field", "Type", "named", "parse"]
