"""Writes the recipe, with a comment beside each choice that says why it was made and what else could stand there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from optimization.drafting.lengths import Lengths
from optimization.drafting.subject import Subject
from optimization.drafting.task import DraftedTask
from optimization.tasks.named import TASKS


@dataclass(frozen=True, kw_only=True)
class Draft:
    """All that was found, and chosen."""

    subject: Subject
    model: Mapping[str, Any]
    """What the recipe says of the teacher's model; empty for an ONNX file."""
    name: str
    data: str
    """The file or folder."""
    num_rows: int
    held_out: str | None
    validation: str | None
    text: str | None
    label: str
    task: DraftedTask
    classes: Sequence[str]
    """The data's."""
    tokenizer: str | None
    lengths: Lengths | None
    num_cpus: int
    keep: Sequence[int]
    """The teacher's layers that the student begins with."""
    num_layers: int
    feed_forward: float | None
    """Share of the feed-forward units that the student keeps; none where they cannot be cut."""
    unpruned: str | None = None
    """Why they cannot."""
    num_phrases: int
    epochs: int
    epochs_to_tune: int | None
    """Of the teacher, where it has no classifier yet."""

    @property
    def is_distilled(self) -> bool:
        """Whether a student learns; an ONNX file is only quantized."""
        return not self.subject.is_onnx


def write(draft: Draft) -> str:
    """The recipe as YAML."""
    parts = [_head(draft), _data(draft), _teacher(draft), _steps(draft), _measure(draft)]
    return "\n".join(part for part in parts if part)


def _head(draft: Draft) -> str:
    return f"""\
# Drafted by `python -m optimization init` of {draft.subject.name} ({draft.subject.about}) and {draft.data}.
# What it does and how long that takes: python -m optimization run --dry-run THIS_FILE. All settings: docs/settings.md.
name: {_plain(draft.name)}  # the artifact will lie in artifacts/{draft.name}/1
seed: 0
workers: 1  # one that computes on all CPUs: several average their gradients, which pays on several machines or GPUs
cpus_per_worker: {draft.num_cpus}
"""


def _data(draft: Draft) -> str:
    lines = [
        "data:",
        "  kind: table",
        f"  train: {_plain(draft.data)}  # {draft.num_rows} rows",
        _split("validation", draft.validation, 0.1, "decide, such as whether INT8 is good enough, and teach nothing"),
        _split("held_out", draft.held_out, 0.2, "report the quality, and do nothing else"),
        f"  task: {draft.task}{_of_classes(draft)}",
        f"  label: {_plain(draft.label)}",
    ]
    if draft.text is not None:
        lengths = draft.lengths
        assert lengths is not None, "texts were measured"
        cut = f"{lengths.num_cut} of {lengths.num} texts are cut" if lengths.num_cut else "no text is cut"
        lines += [
            f"  text: {_plain(draft.text)}",
            f"  tokenizer: {_plain(draft.tokenizer)}",
            f"  max_length: {lengths.max_length}  # tokens: half of the texts have at most {lengths.median}, "
            f"the longest {lengths.longest}; {cut}",
        ]
    if draft.num_phrases:
        lines += [
            "  phrases:  # texts made of yours, which the teacher answers and the student learns from besides",
            f"    num: {draft.num_phrases}  # more of them: a better student, a longer run",
        ]
    return "\n".join(lines) + "\n"


def _split(name: str, file: str | None, fraction: float, what: str) -> str:
    if file is not None:
        return f"  {name}: {_plain(file)}  # rows that {what}"
    return f"  {name}: {fraction}  # share of the rows, or a file of such, that {what}"


def _of_classes(draft: Draft) -> str:
    match draft.task:
        case "regression":
            return "  # a number"
        case "multi_label":
            return f"  # any of {len(draft.classes)} labels: {_some(draft.classes)}"
        case "classification":
            return f"  # one of {len(draft.classes)} classes: {_some(draft.classes)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(" ".join(name.split()) for name in names[:8]) + (", ..." if len(names) > 8 else "")


def _teacher(draft: Draft) -> str:
    if draft.subject.is_onnx:
        lines = ["teacher:", f"  onnx: {_plain(draft.subject.name)}"]
        if draft.model.get("output"):
            lines.append(f"  output: {draft.model['output']}  # what it gives, since its graph does not tell")
        return "\n".join(lines) + "\n"
    lines = ["teacher:", f"  model: {_plain(dict(draft.model))}"]
    if draft.subject.has_classifier:
        lines.append("  # no training: it is taken as it is, with its own classifier")
    else:
        lines += [
            "  # it has no classifier, so that one is trained first",
            f"  training: {{epochs: {draft.epochs_to_tune}, batch_size: 32, learning_rate: 0.00005, warmup: 0.1}}",
        ]
    lines.append("  publish: true  # as well, to be compared and served beside the small one")
    return "\n".join(lines) + "\n"


def _steps(draft: Draft) -> str:
    lines = ["steps:"]
    if draft.is_distilled:
        lines += [
            "  - kind: distill",
            "    student:",
            "      kind: teacher_layers",
            f"      keep: {_plain(list(draft.keep))}  # of {draft.num_layers} layers; fewer are faster and know less",
        ]
        if draft.feed_forward is not None:
            what = "pruning: the share of these units that stays, the largest ones"
            lines.append(f"      feed_forward: {draft.feed_forward}  # {what}")
        elif draft.unpruned is not None:
            lines.append(f"      # no pruning: {' '.join(draft.unpruned.split())}")
        lines += [
            "      dropout: 0",
            "    alpha: 0.9  # what the teacher says weighs this much, the labels the rest",
            f"    training: {{epochs: {draft.epochs}, batch_size: 32, learning_rate: 0.0002, warmup: 0.05}}",
            "",
        ]
    lines += [
        "  - kind: quantize  # INT8; left out where it is not faster on this machine",
        "    method: " + ("dynamic  # ranges taken from each input: right for texts" if draft.text else "static"),
    ]
    return "\n".join(lines) + "\n"


def _measure(draft: Draft) -> str:
    first, *others = TASKS[draft.task].measures
    return f"measure: {first}  # what quality is: or {', '.join(others)}, or a function by import path\n"


def _plain(value: Any) -> str:
    """A value on one line, quoted where YAML would read something else."""
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9).removesuffix("...\n").strip()
