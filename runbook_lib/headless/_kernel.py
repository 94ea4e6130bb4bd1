"""Starts ipykernel so that it cannot outlive the runner; run by its path, with the standard library and ipykernel only.

The kernel's Python need not be the runner's: nothing of this project is imported here.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the system for SIGTERM when the runner dies, then become a kernel."""
    # Python put this file's folder in front; modules there must not shadow a notebook's imports.
    del sys.path[0]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # The runner may have died before that call, and a signal for it will then never come.
    if os.getppid() != int(os.environ["JPY_PARENT_PID"]):
        sys.exit(1)
    # The runner may ignore these (under nohup); a kernel must still be interruptible.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()


if __name__ == "__main__":
    main()
