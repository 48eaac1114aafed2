"""How far a training is that may be gone on with: its snapshots, and which epoch each is from.

    <snapshots>/<digest>/progress.json     the last snapshot that is noted, and how many epochs are in it
    <snapshots>/<digest>/<table>/<time>/   snapshots, one after each epoch, written by the shards

The digest is that of recipe, data and code: what is trained otherwise begins at the beginning.
"""

import json
from dataclasses import dataclass
from typing import Any

import fsspec

_FILE = "progress.json"


@dataclass(frozen=True)
class Progress:
    """Of one training, below the folder or URL `where`."""

    where: str

    def epochs_done(self, newest: str | None) -> int:
        """Epochs in the snapshot `newest`, with which the table began; one may be there that was not noted yet."""
        if newest is None:
            return 0
        files, path = self._file()
        noted: dict[str, Any] = json.loads(files.cat_file(path)) if files.exists(path) else {"epochs": 0}
        return int(noted["epochs"]) + (noted.get("snapshot") != _moment(newest))

    def note(self, snapshot: str, epochs: int) -> None:
        """`snapshot` has so many epochs."""
        files, path = self._file()
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        files.pipe_file(f"{path}.part", json.dumps({"snapshot": _moment(snapshot), "epochs": epochs}).encode())
        files.mv(f"{path}.part", path)

    def forget(self) -> None:
        """Remove all of it."""
        files, path = fsspec.url_to_fs(self.where)
        if files.exists(path):
            files.rm(path, recursive=True)

    def _file(self) -> tuple[Any, str]:
        files, path = fsspec.url_to_fs(self.where)
        return files, f"{path}/{_FILE}"


def _moment(snapshot: str) -> str:
    """The last part of its name: the same, whether the protocol is told or not."""
    return snapshot.rstrip("/").rpartition("/")[2]
