"""What fails without ending the rest: contained, logged once, counted."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Failures:
    """Keeps the failure of one thing from ending the others, and remembers it."""

    def __init__(self, logger: logging.Logger) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        """How often each thing has failed, by its name and the error's type."""
        self._logger = logger

    @contextmanager
    def contained(self, name: str) -> Iterator[None]:
        """Run the block; an exception ends the block alone, is counted and, the first time for each name, logged."""
        try:
            yield
        except Exception as error:
            is_first = not any(known == name for known, _ in self.counts)
            self.counts[name, type(error).__name__] += 1
            if is_first:
                self._logger.exception("%s failed; the rest goes on, further failures are only counted", name)
