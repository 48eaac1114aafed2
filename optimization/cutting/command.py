"""`cut`: an artifact's graph in stages, published as an artifact of several parts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from optimization.artifact import store
from optimization.artifact.store import Artifact
from optimization.cutting import graphs, weights
from optimization.cutting.report import Report, StageReport
from optimization.cutting.search import Search, Wanted
from optimization.errors import CutError

_OWN = {"name", "version", "created", "schema_version", "files", "parts", "parent"}
"""What is not the same of a cut artifact."""


def cut(artifact: Artifact, root: Path, name: str, wanted: Wanted) -> tuple[Artifact, Report]:
    """Publish the artifact's graph in stages, as the next version of `name`, with all else that is known of it.

    Raises:
        CutError: the graph cannot be cut so, or none of its parts answer as the whole does.
        ArtifactError: it cannot be published.
    """
    manifest = artifact.manifest
    if len(manifest.graphs) > 1:
        raise CutError(f"{manifest.name!r} must have one graph to be cut, got {len(manifest.graphs)}: cut its parent")
    model = onnx.load(artifact.model_path, load_external_data=False)
    graphs.check(model)
    search = Search(artifact, model, wanted)
    found = search.best()
    staged = search.graphs_of(found.places)
    root.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".cutting-", dir=root) as scratch:
        folder = Path(scratch)
        parts = [
            graphs.write(part, artifact.path, folder, f"part-{number}", search.known)
            for number, part in enumerate(staged, 1)
        ]
        made = {file: folder / file for part in parts for file in part.files}
        left = {*manifest.graphs[0].files, store.REPORT}
        kept = {file: artifact.path / file for file in manifest.files if file not in left}
        published = store.publish(
            root,
            kept | made,
            check=search.check,
            **{field: getattr(manifest, field) for field in type(manifest).model_fields if field not in _OWN},
            name=name,
            parts=parts,
            parent=f"{manifest.name}/{manifest.version}",
        )
    return published, _report(staged, found.seconds, search.sizes)


def _report(parts: Sequence[onnx.ModelProto], seconds: Sequence[float], sizes: Mapping[str, int]) -> Report:
    held = [{each.name: weights.size_bytes(each) for each in part.graph.initializer} for part in parts]
    once: dict[str, int] = {}
    for each in held:
        once |= each
    stages = tuple(
        StageReport(
            num_nodes=len(part.graph.node),
            weights_bytes=sum(own.values()),
            seconds=each_s,
            moved_bytes=sum(sizes[value.name] for value in part.graph.input if value.name not in own),
        )
        for part, own, each_s in zip(parts, held, seconds, strict=True)
    )
    return Report(stages=stages, doubled_bytes=sum(each.weights_bytes for each in stages) - sum(once.values()))
