"""Delivers one signal to one collector, by a thread of its own: however slow or hostile that is, nobody waits for it.

buffer -> take -> sender -+-> taken              -> next
                          +-> may be tried again -> waits, longer each time -> the same again
                          +-> never              -> given up, counted
"""

import logging
import random
import threading
import time
from collections import Counter
from typing import Protocol

from telemetry.emitting.endpoint import Signal
from telemetry.emitting.sender import Outcome, Sender
from telemetry.failures import Failures

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
"""Between two tries; the longest is how late a collector that is back is noticed."""
LAST_TRY_S = 2.0
"""Seconds that the last export may take, once the process ends."""


class Buffer(Protocol):
    """What waits."""

    def take(self) -> tuple[bytes, int] | None:
        """The body of a request and how many records it has, if anything waits."""

    def settle(self, *, delivered: bool, retry: bool) -> None:
        """What became of it."""


class Delivery:
    """The thread begins with `start`."""

    def __init__(
        self, sender: Sender, buffer: Buffer, *, signal: Signal, interval_s: float, timeout_s: float, failures: Failures
    ) -> None:
        self.name = sender.name
        self.signal: Signal = signal
        self.counts: Counter[str] = Counter()
        """Records by what became of them: taken under "", else under the kind of error."""
        self._sender = sender
        self._buffer = buffer
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._failures = failures
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._answers: bool | None = None

    def start(self) -> None:
        """Begin to send what waits, every interval and whenever `wake` says."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"telemetry {self.signal}", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Send now."""
        self._wake.set()

    def stop(self) -> None:
        """Send what waits a last time and end; `join` waits for it."""
        self._stopping.set()
        self._wake.set()

    def join(self, timeout_s: float) -> bool:
        """Whether it has ended within that time."""
        if self._thread is not None:
            self._thread.join(max(0.0, timeout_s))
        if self._thread is not None and self._thread.is_alive():
            self._sender.close()
            return False
        return True

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopping.is_set():
            self._wake.wait(self._interval_s)
            self._wake.clear()
            while not self._stopping.is_set() and (outcome := self._deliver(self._timeout_s)) is not None:
                if not outcome.error or not outcome.may_retry:
                    pause_s = 0.0
                    continue
                if self._stopping.is_set():
                    self._sender.close()  # it had its last try just now
                    return
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s or FIRST_PAUSE_S)
                self._stopping.wait(max(outcome.wait_s, pause_s * random.uniform(0.7, 1.0)))
        ends_s = time.monotonic() + LAST_TRY_S
        while (left_s := ends_s - time.monotonic()) > 0 and (outcome := self._deliver(left_s)) is not None:
            if outcome.error:
                break
        self._sender.close()

    def _deliver(self, timeout_s: float) -> Outcome | None:
        """Send what waits, if anything does."""
        outcome = Outcome(error="failed")
        taken = None
        with self._failures.contained(f"an export of {self.signal}"):
            taken = self._buffer.take()
            if taken is None:
                return None
            outcome = self._sender.send(taken[0], timeout_s)
        if taken is None:
            return None
        self._buffer.settle(delivered=not outcome.error, retry=outcome.may_retry)
        self._count(outcome, taken[1])
        self._tell(outcome)
        return outcome

    def _count(self, outcome: Outcome, number: int) -> None:
        if outcome.error and outcome.may_retry and self.signal != "metrics":
            return  # it is tried again
        if outcome.error:
            self.counts[outcome.error] += number
        else:
            self.counts["rejected"] += outcome.num_rejected
            self.counts[""] += number - outcome.num_rejected

    def _tell(self, outcome: Outcome) -> None:
        """Log once that the collector does not answer, and once that it does again."""
        answers = not outcome.error
        if answers and self._answers is False:
            logger.info("the OTLP collector at %s takes %s again", self.name, self.signal)
        elif not answers and self._answers is not False:
            logger.warning(
                "no OTLP collector at %s takes %s (%s); counting goes on",
                self.name,
                self.signal,
                outcome.error,
            )
        self._answers = answers
