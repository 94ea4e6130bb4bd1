"""Importing a client costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import runbook_lib.clients

VENDORS = ("httpx", "httpcore", "psycopg", "redis", "kubernetes", "urllib3", "yaml", "pandas", "helm_python")


def test_vendor_libraries_are_imported_on_use():
    """No module of a vendor is imported with the clients."""
    folder = Path(runbook_lib.clients.__file__).parent
    names = sorted(one.stem for one in folder.glob("*.py") if one.stem not in {"__init__", "_transport"})
    code = f"import sys, importlib\nfor name in {names}: importlib.import_module('runbook_lib.clients.' + name)\n"
    code += f"print([name for name in {VENDORS} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == done.stdout.strip()
