"""The end of a process: its streams end first, or the server would wait for them."""

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any

from services.api.streaming.hub import Hub


def close_on_signals(hub: Hub) -> Callable[[], None]:
    """End the streams when the process is told to end; the server would wait for them first. Returns what undoes it.

    Signals reach the main thread only; elsewhere whoever runs the server has to call `close`.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def end(number: int, frame: Any) -> None:
        loop.call_soon_threadsafe(hub.close)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, end)

    def undo() -> None:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)

    return undo
