"""What must survive a restart and is no series: open incidents, what is usual, silences."""

from typing import Any, Protocol

import orjson


class Documents(Protocol):
    """JSON documents by name."""

    def keep(self, name: str, document: Any) -> None:
        """Keep `document`, in place of the one that had this name."""
        ...

    def kept(self, name: str) -> Any | None:
        """The document of this name, None where there is none."""
        ...


class DocumentsInMemory:
    """Documents of a collector that keeps nothing on disk; as JSON, so that what JSON cannot say fails here too."""

    def __init__(self) -> None:
        self._documents: dict[str, bytes] = {}

    def keep(self, name: str, document: Any) -> None:
        """Keep `document`, in place of the one that had this name."""
        self._documents[name] = orjson.dumps(document)

    def kept(self, name: str) -> Any | None:
        """The document of this name, None where there is none."""
        document = self._documents.get(name)
        return None if document is None else orjson.loads(document)
