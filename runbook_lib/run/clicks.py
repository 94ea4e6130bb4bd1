"""Clicks that reach a kernel while a cell waits; how that comes about depends on the kernel's generation.

From 7 on ipykernel passes the messages of widgets on while a cell awaits: to a thread of their own (7.0 to 7.3, from
front ends with subshells) or beside the cell (7.4). Before that it keeps every message of the front end until the cell
ends; here a cell that waits takes the widgets' messages out of that queue, and only those: cells that are already
behind it keep their turn.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from typing import Any

#: What stands between the addresses of a message and its parts, which begin with the signature and the header
#: (Jupyter's messaging protocol, "The Wire Protocol").
_DELIMITER = b"<IDS|MSG>"
_HEADER_OFFSET = 2


def can_arrive() -> bool:
    """Whether a click can reach this kernel while a cell waits."""
    module = sys.modules.get("ipykernel")
    if module is None:
        return False
    return bool(getattr(module, "version_info", (0,))[0] >= 7) or _queue(_kernel()) is not None


async def let_in() -> None:
    """Hand the widgets' messages that wait by now to the widgets, on a kernel that does not do so by itself."""
    kernel = _kernel()
    queue = _queue(kernel)
    if queue is None:
        return
    others = []
    while not queue.empty():
        entry = queue.get_nowait()
        _, dispatch, arguments = entry
        if not _of_widget(arguments):
            others.append(entry)
            continue
        ident, parent, on_interrupt = kernel._parent_ident["shell"], kernel.get_parent("shell"), _on_interrupt(kernel)
        try:
            await dispatch(*arguments)
        finally:
            # What the waiting cell shows from here on is its own again, and so is what an interrupt does after it.
            kernel.set_parent(ident, parent)
            kernel.saved_sigint_handler = on_interrupt
    for entry in others:
        queue.put_nowait(entry)


def _kernel() -> Any:
    from IPython.core.getipython import get_ipython

    return getattr(get_ipython(), "kernel", None)


def _queue(kernel: Any) -> Any:
    """Where a kernel before 7 keeps the messages of its front end; None for another."""
    known = all(hasattr(kernel, name) for name in ("msg_queue", "_parent_ident", "get_parent", "set_parent"))
    return kernel.msg_queue if known else None


def _on_interrupt(kernel: Any) -> Any:
    """What the kernel answers an interrupt with once the running cell has ended."""
    return getattr(kernel, "saved_sigint_handler", signal.SIG_IGN)


def _of_widget(arguments: Sequence[Any]) -> bool:
    """Whether a message, as it came from the socket, is one for a widget; it is not unpacked, that may be done once."""
    try:
        parts = [bytes(part) for part in arguments[0]]
        header = json.loads(parts[parts.index(_DELIMITER) + _HEADER_OFFSET])
    except (IndexError, TypeError, ValueError):
        return False
    return bool(header.get("msg_type") == "comm_msg")
