"""What a process that scores reports: its chunks, its rows, the model's calls, and what it takes of its machine."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from optimization.artifact.manifest import Manifest
from telemetry import conventions
from telemetry.emitting import resources
from telemetry.emitting.data_points import Attributes
from telemetry.emitting.emitter import Emitter


class ScoreMeter:
    """Reports from the first until `close`."""

    def __init__(self, manifest: Manifest, collector: str | None) -> None:
        """`collector` is the URL of Trimtab's; none for where the variables say."""
        self.emitter = Emitter(
            service=f"{manifest.name}.score",  # of the model's own signals it is no part
            version=manifest.version,
            role="score",
            instance=f"score-{uuid4().hex[:8]}",
            endpoint=collector,
        )
        resources.observe(self.emitter)
        self._version: Attributes = ((conventions.MODEL_VERSION, manifest.version),)
        self._rows = self.emitter.counter(conventions.SCORED_ROWS)
        self._chunks = self.emitter.histogram(conventions.CHUNK_DURATION)
        self.emitter.start()

    @contextmanager
    def chunk(self) -> Iterator[None]:
        """Report how long the block takes, and what it fails with."""
        began_s = time.perf_counter()
        failed: Attributes = ()
        try:
            yield
        except Exception as error:
            failed = ((conventions.ERROR_TYPE, type(error).__name__),)
            raise
        finally:
            self._chunks.record(time.perf_counter() - began_s, (*self._version, *failed))

    def scored(self, num_rows: int, num_bad: int) -> None:
        """Report the rows of a chunk that is whole."""
        for outcome, number in (("good", num_rows - num_bad), ("bad", num_bad)):
            if number:
                self._rows.add(number, (*self._version, (conventions.OUTCOME, outcome)))
        self.emitter.hurry()  # the process may end without a word once there are no more chunks

    def close(self) -> None:
        """Report once more and end."""
        self.emitter.shutdown()
