"""Kernels of other generations than the one that is installed, each in a folder that stands before it on the path."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

#: Version of ipykernel to the SHA-256 of its wheel: the oldest that is allowed, which passes no click on by itself. 7.3
#: is not here: now and then it leaves a plain cell lying, also without any widget.
OTHERS: Mapping[str, str] = {"6.31.0": "abe5386f6ced727a70e0eb0cf1da801fa7c5fa6ff82147747d5a0406cd8c94af"}
INSTALL_SECONDS = 60


def environment(version: str) -> dict[str, str]:
    """What makes a new kernel one of this version; ``installed`` changes nothing. Skips where it cannot be had."""
    return {} if version == "installed" else {"PYTHONPATH": str(_folder(version))}


def _folder(version: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", "") or "~/.cache").expanduser() / "runbook-tests"
    folder = cache / f"ipykernel-{version}"
    if (folder / "ipykernel").is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    # Its libraries are those that are installed, all recent enough for each of these versions.
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        wanted, made = Path(scratch) / "wanted.txt", Path(scratch) / "made"
        wanted.write_text(f"ipykernel=={version} --hash=sha256:{OTHERS[version]}\n")
        argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-deps", "--require-hashes"]
        argv += ["--only-binary", ":all:", "--target", str(made), "-r", str(wanted)]
        try:
            done = subprocess.run(argv, capture_output=True, timeout=INSTALL_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip(f"ipykernel {version} could not be installed in time")
        if done.returncode:
            pytest.skip(f"ipykernel {version} cannot be installed: {done.stderr.decode()[-200:]}")
        if not folder.exists():
            made.rename(folder)
    return folder
