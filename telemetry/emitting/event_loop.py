"""How late an event loop comes to its timers: what every request waits that it could answer at once."""

import asyncio

from telemetry.conventions import EVENT_LOOP_LAG
from telemetry.emitting.emitter import Emitter

EVERY_S = 0.1


def observe(emitter: Emitter) -> None:
    """Report the loop that `emitter` is started in, if it is started in one."""
    lag = Lag(emitter)
    emitter.on_start(lag.start)
    emitter.on_shutdown(lag.stop)


class Lag:
    """A timer that sets itself again, and records by how much it was late."""

    def __init__(self, emitter: Emitter) -> None:
        self._histogram = emitter.histogram(EVENT_LOOP_LAG)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False
        self._due_s = 0.0

    def start(self) -> None:
        """Begin, where a loop runs."""
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._set()

    def stop(self) -> None:
        """End with the next timer; may be called from any thread."""
        self._stopped = True

    def _set(self) -> None:
        assert self._loop is not None, "it has started"
        self._due_s = self._loop.time() + EVERY_S
        self._loop.call_at(self._due_s, self._come)

    def _come(self) -> None:
        assert self._loop is not None, "it has started"
        self._histogram.record(max(0.0, self._loop.time() - self._due_s))
        if not self._stopped:
            self._set()
