"""Executable runbooks: see docs/architecture.md."""
