"""axe-core, which checks a page's accessibility: where it is, or how it comes here."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

VERSION = "4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
INSTALL_SECONDS = 60


def source() -> str:
    """The script: as AXE_CORE names it, of this checkout's node_modules, or installed once beside the user's caches.

    Skips where none of these is possible.
    """
    named = Path(os.environ.get("AXE_CORE", "node_modules/axe-core/axe.min.js"))
    return (named if named.is_file() else _installed()).read_text(encoding="utf-8")


def _installed() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", "") or "~/.cache").expanduser() / "runbook-tests" / f"axe-{VERSION}"
    script = cache / "node_modules" / "axe-core" / "axe.min.js"
    npm = shutil.which("npm")
    if not script.is_file():
        if npm is None:
            pytest.skip("axe-core is not there, and npm, which would install it, neither; or name it in AXE_CORE")
        cache.mkdir(parents=True, exist_ok=True)
        argv = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(cache)]
        try:
            subprocess.run(
                [*argv, f"axe-core@{VERSION}"], cwd=cache, capture_output=True, check=True, timeout=INSTALL_SECONDS
            )
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"axe-core cannot be installed: {type(error).__name__}")
    assert hashlib.sha256(script.read_bytes()).hexdigest() == SHA256, f"{script} is not axe-core {VERSION}"
    return script
