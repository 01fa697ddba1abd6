"""Actions of the page's widgets, queued so that one thread executes them."""

import queue
from collections.abc import Callable
from typing import Any


class ActionQueue:
    """Handlers for widgets that only queue an action; `run_next` and `run_pending` execute it."""

    def __init__(self) -> None:
        self._actions: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def run_next(self) -> None:
        """Wait for an action and execute it."""
        self._actions.get()()

    def run_pending(self) -> None:
        """Execute all queued actions."""
        while not self._actions.empty():
            self._actions.get()()

    def later(self, do: Callable[[], None] = lambda: None) -> Callable[[Any], None]:
        """A handler that queues `do`."""
        return lambda _: self._actions.put(do)

    def later_for(self, do: Callable[[Any], None]) -> Callable[[Any], None]:
        """A handler that queues `do`; it gets the client that clicked, which sees its errors."""

        def handle(event: Any) -> None:
            def attempt() -> None:
                try:
                    do(event.client)
                except (ValueError, OSError) as error:
                    event.client.add_notification(
                        "This is not possible", str(error), color="red", auto_close_seconds=10
                    )

            self._actions.put(attempt)

        return handle
