"""A version put where the nodes of a cluster take it from: `python -m optimization push`."""

from pathlib import Path

import fsspec

from optimization.artifact.store import MANIFEST, ArtifactError, load


def push(path: Path, url: str) -> str:
    """Copy the version in the directory `path` to `<url>/<name>/<version>`, and say where that is.

    The manifest goes last, so that nobody sees the version before it is whole. What is there already is left.

    Raises:
        ArtifactError: it is damaged, another artifact has its place, or nothing can be written there.
    """
    if url.startswith("cluster:"):
        other = "call `python -m deployments push` for that"
        raise ArtifactError(f"url must name a directory or bucket, got {url!r}: {other}")
    manifest = load(path).manifest
    there = f"{url.rstrip('/')}/{manifest.name}/{manifest.version}"
    try:
        files, home = fsspec.url_to_fs(there)
        if files.exists(f"{home}/{MANIFEST}"):
            if files.cat_file(f"{home}/{MANIFEST}") == (path / MANIFEST).read_bytes():
                return there
            raise ArtifactError(f"{there} must be free, got another artifact there: publish the next version")
        for name in (*manifest.files, MANIFEST):
            target = f"{home}/{name}"
            files.makedirs(target.rpartition("/")[0], exist_ok=True)
            files.put_file(str(path / name), target)
    except ArtifactError:
        raise
    except Exception as error:  # each file system raises errors of its own
        raise ArtifactError(f"{there} must be writable: {type(error).__name__}: {error}") from error
    return there
