"""Whether the newest version of an artifact is what a recipe would make now, and why not."""

from pathlib import Path

from optimization.artifact import store
from optimization.artifact.store import Artifact, ArtifactError
from optimization.identity import code, named
from optimization.recipe.recipe import Named


def find(wanted: Named, root: Path) -> tuple[Artifact | None, str]:
    """The newest version if recipe, data and all else that the recipe names are as they were, and what to say of it.

    Where there are versions, but none that is up to date, the text says why.
    """
    if not store.versions(root, wanted.name):
        return None, ""
    try:
        newest = store.load(store.find(root, wanted.name))
    except ArtifactError as error:
        return None, str(error)
    manifest = newest.manifest
    if manifest.recipe_sha256 != wanted.sha256:
        return None, f"the recipe is not that of version {manifest.version}"
    if manifest.provenance is None:
        return None, f"version {manifest.version} does not say what data it was made of"
    if changed := named.changed(manifest.provenance.named, named.digests(wanted)):
        return None, f"what {' and '.join(changed)} names is not as it was for version {manifest.version}"
    if manifest.provenance.code_sha256 != code.own():
        return newest, "neither the recipe nor what it names has changed, but Trimtab has"
    return newest, "neither the recipe nor what it names has changed"
