"""The keys and values that replicas of one process share, in place of Ray's."""

from collections.abc import Mapping


class SharedStore:
    """A `deployments.replicas.agreement.Store` in memory."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        """The value, if there is one."""
        return self._values.get(key)

    def put(self, key: str, value: bytes) -> None:
        """Write it over what is there."""
        self._values[key] = value

    def delete(self, key: str) -> None:
        """Forget it, if it is there."""
        self._values.pop(key, None)

    def below(self, prefix: str) -> Mapping[str, bytes]:
        """All whose key begins with `prefix`."""
        return {key: value for key, value in list(self._values.items()) if key.startswith(prefix)}
