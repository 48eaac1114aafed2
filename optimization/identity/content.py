"""Digests of files and folders by what they hold; of what is huge, by size, time and samples.

up to WHOLE_BYTES    every byte of every file, and its name below the folder
beyond               each file's name, size and time of change, and the samples of some of them
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

WHOLE_BYTES = 2**30
"""Files and folders up to this size are read whole: a second or two."""
_NUM_SAMPLES, _SAMPLE_BYTES = 64, 2**20
"""Samples of what is larger, spread evenly over its files and over each of them."""


def of_path(path: Path) -> str:
    """Digest of a file, or of all files below a folder."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return of_files(files, path)


def of_files(files: Sequence[Path], root: Path) -> str:
    """Digest of these files and of their names below `root`, in their order."""
    is_whole = sum(each.stat().st_size for each in files) <= WHOLE_BYTES
    step = max(1, len(files) // _NUM_SAMPLES)
    num_each = max(1, _NUM_SAMPLES // max(1, len(files)))
    hashed = hashlib.sha256(b"whole" if is_whole else b"sampled")
    for number, file in enumerate(files):
        found = file.stat()
        hashed.update(f"{file.relative_to(root)}\0{found.st_size}\0".encode())
        if is_whole:
            with file.open("rb") as opened:
                hashed.update(hashlib.file_digest(opened, "sha256").digest())
        else:
            hashed.update(str(found.st_mtime_ns).encode())
            if number % step == 0:
                hashed.update(_sampled(file, found.st_size, num_each))
    return hashed.hexdigest()


def of_values(values: object) -> str:
    """Digest of what JSON can hold; the order of keys does not count."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _sampled(path: Path, size: int, num: int) -> bytes:
    """Digest of `num` samples of a file, its beginning and its end among them."""
    hashed = hashlib.sha256()
    last = max(0, size - _SAMPLE_BYTES)
    with path.open("rb") as opened:
        for number in range(num + 1):
            opened.seek(last * number // num)
            hashed.update(opened.read(_SAMPLE_BYTES))
    return hashed.digest()
