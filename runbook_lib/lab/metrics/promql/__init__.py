"""The query language: parse, check against the supported subset, evaluate."""
