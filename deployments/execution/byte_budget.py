"""How many bytes of request bodies a model holds at a time: a short queue may still be a large one."""

from deployments.errors import OverloadedError

RETRY_AFTER_S = 1


class ByteBudget:
    """Counts bytes in and out; belongs to one event loop."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._reserved_bytes = 0

    @property
    def share(self) -> float:
        """How much of them is reserved."""
        return self._reserved_bytes / self._max_bytes

    def check(self, size_bytes: int) -> None:
        """Whether so many more fit.

        Raises:
            OverloadedError: they do not.
        """
        if self._reserved_bytes + size_bytes > self._max_bytes:
            raise OverloadedError(
                f"requests under way hold {self._reserved_bytes} of at most {self._max_bytes} bytes, got {size_bytes}: "
                "try again later",
                retry_after_s=RETRY_AFTER_S,
            )

    def reserve(self, size_bytes: int) -> None:
        """Reserve so many bytes.

        Raises:
            OverloadedError: they do not fit, and none is reserved.
        """
        self.check(size_bytes)
        self._reserved_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """Give back so many bytes."""
        self._reserved_bytes -= size_bytes
