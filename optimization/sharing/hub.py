"""A version put on a Hugging Face hub, with a model card: `python -m optimization push ARTIFACT hf://OWNER/NAME`.

The hub is the one that `HF_ENDPOINT` names, else huggingface.co; the token is `HF_TOKEN`, or what `hf auth login` kept.
"""

import re
from pathlib import Path

from optimization.artifact.store import ArtifactError, load
from optimization.extras import require
from optimization.sharing import card

PREFIX = "hf://"
CARD = "README.md"
"""Where hubs look for it."""


def push(path: Path, url: str) -> str:
    """Commit the version in the directory `path` to the repository `url`, which is made if it is not there.

    All files and the card are one commit, so that nobody sees half of it. Returns where it is.

    Raises:
        ArtifactError: it is damaged, `url` names no repository, or the hub refused.
    """
    name = url.removeprefix(PREFIX).rstrip("/")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ArtifactError(f"url must be {PREFIX}OWNER/NAME, got {url!r}")
    manifest = load(path).manifest
    hub = require("huggingface_hub", extra="hf")
    files = [each for each in manifest.files if each != CARD]
    operations = [
        hub.CommitOperationAdd(path_in_repo=each, path_or_fileobj=str(path / each))
        for each in (*files, "manifest.json")
    ]
    operations.append(hub.CommitOperationAdd(path_in_repo=CARD, path_or_fileobj=card.write(manifest).encode()))
    api = hub.HfApi()
    try:
        api.create_repo(name, exist_ok=True)
        made = api.create_commit(name, operations, commit_message=f"{manifest.name} {manifest.version}")
    except Exception as error:  # of HTTP, of the hub, or of its validation: they share no base
        reason = str(error).strip().splitlines()[0]
        raise ArtifactError(
            f"{url} must be a repository that you may write, at {api.endpoint}: {type(error).__name__}: {reason}"
        ) from error
    return str(made.commit_url)
