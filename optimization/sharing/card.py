"""A model card of an artifact (Mitchell 2019, arXiv:1810.03993): Markdown, with the metadata that hubs read on top.

All of it is in the manifest; what nobody measured is not said.
"""

from collections.abc import Iterator

import yaml

from optimization.artifact.manifest import Manifest, TextPreprocessing
from optimization.report import terminal

_PIPELINES = {"classification": "text-classification", "multi_label": "text-classification"}
"""What hubs call the tasks of texts."""
_PICTURES = {"classification": "image-classification"}


def write(manifest: Manifest) -> str:
    """The card."""
    return f"---\n{_metadata(manifest)}---\n\n" + "\n".join(_lines(manifest)) + "\n"


def _metadata(manifest: Manifest) -> str:
    said: dict[str, object] = {"library_name": "onnx", "tags": ["onnx", "trimtab"]}
    if manifest.preprocessing is not None and manifest.task is not None:
        is_text = isinstance(manifest.preprocessing, TextPreprocessing)
        pipeline = (_PIPELINES if is_text else _PICTURES).get(manifest.task)
        said |= {"pipeline_tag": pipeline} if pipeline else {}
    if manifest.measurements:
        said["metrics"] = sorted({each.quality.metric for each in manifest.measurements})
    return yaml.safe_dump(said, sort_keys=True, allow_unicode=True)


def _lines(manifest: Manifest) -> Iterator[str]:
    yield f"# {manifest.name} {manifest.version}"
    yield ""
    made_of = f", made from {manifest.parent}" if manifest.parent else ""
    yield f"A model for {(manifest.task or 'a task that nobody named').replace('_', ' ')}{made_of}, as ONNX."
    if manifest.labels:
        yield f"Its classes, in the order of its output: {', '.join(map(_inline, manifest.labels))}."
    yield ""
    yield from _measured(manifest)
    yield "## How it is called"
    yield ""
    yield f"`{terminal.describe(manifest)}`, by ONNX Runtime or any server of ONNX; by Trimtab as `{manifest.name}`."
    if isinstance(manifest.preprocessing, TextPreprocessing):
        raw = manifest.preprocessing
        yield f"Texts become its inputs by `{raw.tokenizer}`, cut at {raw.max_length} tokens."
    yield ""
    yield "## What it was made of"
    yield ""
    if manifest.recipe is not None:
        yield "```yaml"
        yield yaml.safe_dump(manifest.recipe, sort_keys=False, allow_unicode=True).rstrip()
        yield "```"
    else:
        yield "It came ready, and was published as it is."
    yield ""
    libraries = ", ".join(f"{name} {version}" for name, version in manifest.libraries.items())
    yield f"Made {manifest.created:%Y-%m-%d}{f' with {libraries}' if libraries else ''}."


def _measured(manifest: Manifest) -> Iterator[str]:
    """Quality, size and speed of each step, and what they mean."""
    if not manifest.measurements:
        return
    sizes = list(manifest.measurements[0].latency_s)
    heads = ["step", terminal.heading(manifest.measurements[0].quality), "parameters", "file"]
    heads += [f"latency, batch {size}" for size in sizes]
    yield "## How good and how fast it is"
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for each in manifest.measurements:
        cells = [each.step, terminal.with_interval(each.quality), f"{each.num_parameters:,}"]
        cells.append(f"{each.size_bytes / 1e6:.2f} MB")
        cells += [terminal.short(each.latency_s[size], "s") if size in each.latency_s else "" for size in sizes]
        yield f"| {' | '.join(cells)} |"
    yield ""
    quality = manifest.measurements[-1].quality
    where = f" on {manifest.machine.cpu}" if manifest.machine else ""
    yield (
        f"The last step is this model. Quality is of {quality.num_samples} held-out examples, with its 95 % interval; "
        f"latency is the median of a call with one thread{where}."
    )
    yield ""
    notes = list(terminal.statements(manifest))
    yield from (f"- {each}" for each in notes)
    yield ""


def _inline(name: str) -> str:
    """A name as code, whatever signs it has."""
    return f"`{' '.join(name.replace('`', '').split())}`"
