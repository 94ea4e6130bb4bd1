"""The approval card as a widget; only imported in front of a person.

The typed name is checked in the browser, which then sends one message: while a cell waits, no other change of a
widget's state reaches the kernel (ipykernel 7.4 sends no ``idle`` for it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

Told = Callable[[Mapping[str, Any]], None]


class Card(anywidget.AnyWidget):
    """What a person reads before approving, and where they type the service's name.

    Args:
        told: is given each message of the browser: ``{kind: "ready"}`` once the card is shown, and
            ``{kind: "decision", approved, typed, plan}``. May be called in another thread.
        traits: first values of the card's traits.
    """

    _esm = Path(__file__).with_name("card.js")
    service = traitlets.Unicode().tag(sync=True)
    digest = traitlets.Unicode().tag(sync=True)
    plan_html = traitlets.Unicode().tag(sync=True)
    picture = traitlets.Unicode().tag(sync=True)
    sentence = traitlets.Unicode().tag(sync=True)
    until_ms = traitlets.Float().tag(sync=True)

    def __init__(self, told: Told, **traits: Any) -> None:
        super().__init__(**traits)
        self._told = told
        self.on_msg(self._message)

    def _message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if isinstance(content, Mapping):
            self._told(content)
