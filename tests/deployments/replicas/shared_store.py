"""The keys and values that replicas of one process share, in place of Ray's."""

from collections.abc import Mapping


class SharedStore:
    """A `deployments.pushed.catalogue.Store` in memory."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        """The value, if there is one."""
        return self._values.get(key)

    def put(self, key: str, value: bytes) -> None:
        """Write it over what is there."""
        self._values[key] = value

    def put_new(self, key: str, value: bytes) -> bool:
        """Write it unless there is one; whether it was written."""
        return self._values.setdefault(key, value) is value

    def keys(self, prefix: str) -> list[str]:
        """All that begin with `prefix`."""
        return [key for key in list(self._values) if key.startswith(prefix)]

    def delete(self, key: str) -> None:
        """Forget it, if it is there."""
        self._values.pop(key, None)

    def below(self, prefix: str) -> Mapping[str, bytes]:
        """All whose key begins with `prefix`."""
        return {key: value for key, value in list(self._values.items()) if key.startswith(prefix)}
