"""Sampled requests on disk, for a model that is to be trained again: rows as they came, and the labels that came later.

request answered -> sampled rows -> a thread: redacted -> a file; the oldest files go

Nothing is written that the redaction has not seen: where it fails, the rows are dropped.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from deployments.monitoring.sample_files import Labelled, Sampled, expire, write
from deployments.monitoring.sampling import ROWS_OF_REQUEST, RowRate
from deployments.oip.tensors import Array
from deployments.settings import SampleSettings
from deployments.stages.function import function
from optimization.artifact.manifest import Manifest
from telemetry.failures import Failures

logger = logging.getLogger(__name__)

FLUSH_S = 5.0
"""Seconds between two files."""
MOST_WAITING = 1000
"""Requests, and labels, that wait for the thread; any further one replaces the oldest."""

Redact = Callable[[dict[str, Array]], Mapping[str, Array] | None]
"""Makes of a request's inputs what may be kept, or none where nothing may."""


class Samples:
    """Writes the sampled rows of one version of a model."""

    def __init__(self, manifest: Manifest, settings: SampleSettings) -> None:
        """Raises: SettingsError: the redaction is not to be found."""
        self._version = manifest.version
        self._folder = settings.folder / manifest.name
        self._settings = settings
        self._redact: Redact | None = function(settings.redact, "samples.redact") if settings.redact else None
        self._rate = RowRate(settings.max_per_s)
        self._waiting: deque[Sampled] = deque(maxlen=MOST_WAITING)
        self._labels: deque[Labelled] = deque(maxlen=MOST_WAITING)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._failures = Failures(logger)

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._write_forever, name="samples", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def see(self, request_id: str | None, inputs: Mapping[str, Array]) -> None:
        """A request was answered: its first rows are a sample, if their time has come."""
        num_rows = min(ROWS_OF_REQUEST, len(next(iter(inputs.values()))))
        if not num_rows or not self._rate.is_open():
            return
        self._rate.took(num_rows)
        rows = {name: array[:num_rows].copy() for name, array in inputs.items()}
        self._waiting.append(Sampled(request_id=request_id or "", inputs=rows, at_s=time.time()))

    def label(self, request_id: str, row: int, label: int) -> None:
        """What the answer to a row should have been, whether it was sampled or not."""
        self._labels.append(Labelled(request_id=request_id, row=row, label=label))

    def write(self) -> None:
        """Write what waits, and let go of files that are too old or too many."""
        sampled = [self._waiting.popleft() for _ in range(len(self._waiting))]
        labels = [self._labels.popleft() for _ in range(len(self._labels))]
        kept = [redacted for each in sampled if (redacted := self._redacted(each)) is not None]
        if kept or labels:
            write(self._folder, self._version, kept, labels)
        expire(self._folder, keep_s=self._settings.keep_s, max_bytes=self._settings.max_bytes)

    def _redacted(self, sampled: Sampled) -> Sampled | None:
        if self._redact is None:
            return sampled
        with self._failures.contained("redacting a request"):
            found = self._redact(sampled.inputs)
            if found is not None:
                return Sampled(request_id=sampled.request_id, inputs=dict(found), at_s=sampled.at_s)
        return None

    def _write_forever(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stopping.wait(FLUSH_S)
            with self._failures.contained("writing samples"):
                self.write()
