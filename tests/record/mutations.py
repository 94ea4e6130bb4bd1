"""Random changes of a file's content."""

from __future__ import annotations

import random


def mutate(content: bytes, rng: random.Random) -> bytes | None:
    """Flip a bit, cut, repeat, swap or drop lines, insert bytes, or remove the file (None)."""
    kind = rng.choice(("flip", "flip", "flip", "cut", "lines", "drop", "double", "insert", "remove"))
    at = rng.randrange(max(1, len(content)))
    lines = content.splitlines(keepends=True)
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
    if kind == "cut":
        return content[:at]
    if kind == "lines":
        rng.shuffle(lines)
        return b"".join(lines)
    if kind == "drop":
        lines.pop(rng.randrange(len(lines)))
        return b"".join(lines)
    if kind == "double":
        return b"".join(lines[: at % len(lines) + 1] + lines[at % len(lines) :])
    if kind == "insert":
        return content[:at] + rng.randbytes(rng.randrange(1, 9)) + content[at:]
    return None
