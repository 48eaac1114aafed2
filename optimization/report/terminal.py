"""What the user sees of an artifact: the closing table, and what it means."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from optimization.artifact.findings import (
    Control,
    Difference,
    Examples,
    KernelChoice,
    PrecisionChoice,
    SearchResult,
    Speedup,
)
from optimization.artifact.manifest import Manifest, Measurement, Quality
from optimization.artifact.store import Artifact

_OUTCOMES = {
    "proven": "within the budget",
    "measured": "not proven",
    "stopped": "stopped early",
    "failed": "failed",
}


def show(console: Console, artifact: Artifact) -> None:
    """Print the closing table of an artifact and what it means."""
    manifest = artifact.manifest
    if manifest.measurements:
        console.print(_table(manifest))
    for line in statements(manifest):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    console.print(f"  {artifact.path}", highlight=False, soft_wrap=True)


def describe(manifest: Manifest) -> str:
    """Inputs and outputs on one line."""
    sides = (
        ", ".join(f"{each.name} {each.datatype} {list(each.shape)}" for each in side)
        for side in (manifest.inputs, manifest.outputs)
    )
    return " → ".join(sides)


def _table(manifest: Manifest) -> Table:
    first = manifest.measurements[0]
    sizes = list(first.latency_s)
    latencies = [f"latency\nbatch {size}" for size in sizes]
    table = columns("step", f"{heading(first.quality)}\n(95 % CI)", "para-\nmeters", "ONNX\nfile", *latencies)
    table.title, table.title_justify = f"{manifest.name} {manifest.version}", "left"
    for each in manifest.measurements:
        table.add_row(
            each.step,
            with_interval(each.quality),
            short(each.num_parameters, ""),
            short(each.size_bytes, "B"),
            *(_latency(each, size) for size in sizes),
            style="dim" if each.step == "control" else "bold" if each is manifest.measurements[-1] else None,
        )
    teacher, final = measured(manifest, "teacher"), manifest.measurements[-1]
    if teacher is not None and teacher is not final:
        table.add_section()
        table.add_row(
            "ratio",
            _kept(teacher.quality, final.quality),
            f"{teacher.num_parameters / final.num_parameters:.1f} x",
            f"{teacher.size_bytes / final.size_bytes:.1f} x",
            *(f"{teacher.latency_s[size] / final.latency_s[size]:.1f} x" for size in sizes),
        )
    return table


def heading(quality: Quality) -> str:
    """What a column of that quality is called."""
    return f"{quality.metric} %" if quality.is_share else quality.metric


def amount(value: float, *, is_share: bool) -> str:
    """A quality: in percent, without the sign, or in three digits."""
    return percent(value) if is_share else f"{value:.3g}"


def with_interval(quality: Quality) -> str:
    """A quality and the ends of its interval."""
    value, low, high = (amount(each, is_share=quality.is_share) for each in (quality.value, quality.low, quality.high))
    return f"{value} ({low}-{high})"


def gained(lost: Difference) -> str:
    """How much better the other is, in points or in units of the measure."""
    if lost.is_share:
        return f"{-100 * lost.drop:+.2f} points"
    return f"{abs(lost.drop):.3g} {'worse' if lost.drop > 0 else 'better'}"


def between(lost: Difference) -> str:
    """The ends of the interval of what is gained."""
    if lost.is_share:
        return f"{-100 * lost.high:+.2f} to {-100 * lost.low:+.2f}"
    return f"{-lost.high:+.3g} to {-lost.low:+.3g}"


def _kept(teacher: Quality, final: Quality) -> str:
    """Which share of the teacher's quality is left, or how many times its error."""
    if teacher.value <= 0:
        return ""
    ratio = final.value / teacher.value
    return f"{ratio:.2f} x" if final.lower_is_better else f"{ratio:.1%} kept"


def columns(first: str, *others: str) -> Table:
    """An empty table, so close that ours fit 80 columns; on a narrower terminal cells are folded, never cut."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for each in others:
        table.add_column(each, justify="right", overflow="fold")
    return table


def _latency(measured: Measurement, batch_size: int) -> str:
    """The median with half of its interval: 12.3 ±0.2 µs."""
    value = measured.latency_s[batch_size]
    if batch_size not in measured.latency_interval_s:
        return short(value, "s")
    low, high = measured.latency_interval_s[batch_size]
    number, unit = short(value, "s").split()
    return f"{number} ±{(high - low) / 2 / value * float(number):.{len(number.partition('.')[2])}f} {unit}"


def statements(manifest: Manifest) -> Iterator[str]:
    """What the numbers mean, one sentence each."""
    yield describe(manifest)
    for number, part in enumerate(manifest.parts if len(manifest.parts) > 1 else (), 1):
        size = sum(manifest.files[name].size_bytes for name in part.files)
        sides = (", ".join(spec.name for spec in side) for side in (part.inputs, part.outputs))
        yield f"part {number}, {short(size, 'B')}: {' → '.join(sides)}"
    student, control = measured(manifest, "distill"), measured(manifest, "control")
    if student is not None and control is not None:
        yield _distillation(student, control, difference(manifest, "control", "distill"))
    if manifest.measurements:
        lost = difference(manifest, "teacher", manifest.measurements[-1].step)
        if lost is not None:
            yield _against_teacher(lost)
        if faster := [each for each in manifest.findings.speedups if each.reference == "teacher"]:
            yield f"times faster than the teacher: {_speeds(faster)} (95 % intervals, taking turns)"
    sparse = measured(manifest, "sparsify")
    if sparse is not None:
        zeros = f"zeros: {percent(sparse.sparsity)} % of the weights"
        yield f"{zeros}; ONNX Runtime multiplies by them all the same: they shrink a compressed file, not the latency"
    quantized = measured(manifest, "quantize")
    if quantized is not None and quantized is not manifest.measurements[-1]:
        yield f"{_quantization(manifest.measurements[-1], quantized)}; on this machine fp32 is faster and is published"
    if manifest.measurements and manifest.measurements[-1].step == "quantize":
        yield _quantization(*manifest.measurements[-2:])
    if manifest.findings.examples is not None:
        yield _examples(manifest.findings.examples)
    if manifest.findings.control is not None:
        yield _control(manifest.findings.control)
    yield from manifest.findings.notes
    if manifest.parity is not None:
        yield f"parity: the fp32 ONNX model differs from its original by at most {manifest.parity:.1e}"
    if manifest.agreement is not None:
        numbers = _numbers(manifest.measurements[-1])
        yield f"agreement: {numbers} and fp32 give the same answer on {manifest.agreement:.2%} of the held-out examples"
    for step, scores in manifest.findings.scores.items():
        yield f"{step}: " + ", ".join(f"{name} {value:.1f}" for name, value in scores.items())
    if manifest.findings.precisions:
        chosen = manifest.findings.precisions.items()
        yield "precision: " + "; ".join(f"{step} {precision(each)}" for step, each in chosen)
    if manifest.findings.kernel is not None:
        yield f"INT8 weights: {_kernel(manifest.findings.kernel)}"
    if manifest.findings.search is not None:
        yield _search(manifest.findings.search)
    if manifest.cascade is not None:
        yield (
            f"cascade: {manifest.cascade.teacher} answers what this model is less than "
            f"{percent(manifest.cascade.threshold)} % sure of"
        )
    if manifest.machine is not None:
        yield f"latency: median of a call and its 95 % interval, ONNX Runtime, one thread of {manifest.machine.cpu}"


def precision(choice: PrecisionChoice) -> str:
    """What was chosen, and by what: bf16, 2.1 times as fast as fp32."""
    fp32_s, bf16_s = choice.seconds["fp32"], choice.seconds["bf16"]
    if choice.precision == "bf16":
        return f"bf16, {three_digits(fp32_s / bf16_s)} times as fast as fp32"
    if bf16_s > fp32_s:
        return f"fp32: bf16 takes {three_digits(bf16_s / fp32_s)} times as long"
    return f"fp32: bf16 is {three_digits(fp32_s / bf16_s)} times as fast, its results alike to {choice.alike:.4f}"


def _kernel(choice: KernelChoice) -> str:
    """For example: signed; against it unsigned takes 1.21 times as long, changes 0.98 times as much."""
    held = [
        f"{name} takes {seconds / choice.seconds[choice.kernel]:.2f} times as long, changes "
        f"{choice.changed[name] / max(choice.changed[choice.kernel], 1e-12):.2f} times as much"
        for name, seconds in choice.seconds.items()
        if name != choice.kernel
    ]
    return f"{choice.kernel} on {choice.processor}; against it {'; '.join(held)}"


def _distillation(student: Measurement, control: Measurement, found: Difference | None) -> str:
    if found is not None:
        verdict = f"95 % interval {between(found)}"
        verdict += ": this run shows no difference" if found.low <= 0 <= found.high else ""
        return f"distillation: {gained(found)} against the no-teacher control ({verdict})"
    gain = student.quality.value - control.quality.value
    apart = student.quality.low > control.quality.high or control.quality.low > student.quality.high
    verdict = "beyond chance" if apart else "the intervals overlap: this run shows no difference"
    return f"distillation: {100 * gain:+.2f} points against the no-teacher control ({verdict})"


def _examples(found: Examples) -> str:
    unlabelled = f", {found.num_unlabelled:,} of them by the teacher's answers alone" if found.num_unlabelled else ""
    return (
        f"examples: {found.num_train:,} taught{unlabelled}; {found.num_validation:,} decided (validation); "
        f"{found.num_held_out:,} are reported on (held out), read once all was decided"
    )


def _control(found: Control) -> str:
    repeated = ""
    if found.num_repeated:
        repeated = f"; {found.num_repeated:,} examples of each epoch have none: labelled ones came again in their place"
    return f"control: {found.step} from the same start in the same {found.num_steps:,} steps, of labels alone{repeated}"


def _against_teacher(lost: Difference) -> str:
    return (
        f"against the teacher: {gained(lost)} on the same {lost.num_samples} examples (95 % interval {between(lost)})"
    )


def _speeds(found: Iterable[Speedup]) -> str:
    return ", ".join(f"{each.value:.2f} ({each.low:.2f}-{each.high:.2f}) at batch {each.batch_size}" for each in found)


def _search(found: SearchResult) -> str:
    chosen = found.trials[found.chosen]
    counts = Counter("proven" if each.is_proven else each.outcome for each in found.trials)
    tried = ", ".join(f"{counts[kind]} {text}" for kind, text in _OUTCOMES.items() if counts[kind])
    made = settings(chosen.settings)
    allowed = f"{allowance(found)} lost at most, with {100 * found.confidence:g} % confidence"
    why = "costs least within the budget" if chosen.is_proven else "comes nearest to the budget"
    by = f"search: {made} {why} on the validation examples ({found.target}; {tried})"
    if found.is_proven:
        return f"{by}; proven on the held-out examples: {allowed}"
    more = f"about {found.num_samples_needed:,} held-out examples" if found.num_samples_needed else "a better student"
    return (
        f"{by}; budget not proven: the held-out examples do not show {allowed}; {more} or a larger max_drop would help"
    )


def settings(choices: Mapping[str, Any]) -> str:
    """A trial's choices on one line."""
    return ", ".join(f"{name} {plain(value)}" for name, value in choices.items())


def plain(value: object) -> str:
    """A setting's value as the recipe writes it."""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()


def _quantization(before: Measurement, after: Measurement) -> str:
    ratios = {size: before.latency_s[size] / latency for size, latency in after.latency_s.items()}
    speeds = ", ".join(f"{ratio:.2f} x the speed of fp32 at batch {size}" for size, ratio in ratios.items())
    slower = [f"batch {size}" for size, ratio in ratios.items() if ratio < 1]
    why = "it is for GPUs" if after.precision == "FP16" else "the model is too small to gain"
    note = f"; not faster at {' and '.join(slower)}: {why}" if slower else ""
    return f"{_numbers(after)}: {before.size_bytes / after.size_bytes:.2f} x smaller file, {speeds}{note}"


def _numbers(quantized: Measurement) -> str:
    """What `quantize` made; artifacts of before do not say it, and were INT8 almost always."""
    return quantized.precision or "INT8"


def measured(manifest: Manifest, step: str) -> Measurement | None:
    """What that step left behind, if it ran."""
    return next((each for each in manifest.measurements if each.step == step), None)


def difference(manifest: Manifest, reference: str, other: str) -> Difference | None:
    """How two steps compare on the same examples, if that was looked at."""
    found = manifest.findings.differences
    return next((each for each in found if (each.reference, each.other) == (reference, other)), None)


def percent(share: float) -> str:
    """A share in percent, without the sign."""
    return f"{100 * share:.1f}"


def points(share: float) -> str:
    """A difference of shares in percentage points."""
    number = f"{100 * share:.3g}"
    return f"{number} point" if number == "1" else f"{number} points"


def allowance(found: SearchResult) -> str:
    """What may be lost: in points, or in units of the measure."""
    return points(found.max_drop) if found.is_share else f"{found.max_drop:.3g} of {found.measure}"


def interval(value: float, ends: tuple[float, float] | None, unit: str) -> str:
    """A value and the ends of its interval under one unit, where there is one: 12.3 (12.1-12.6) µs."""
    if ends is None:
        return short(value, unit)
    scale, prefix = _prefix(value)
    low, high = (three_digits(end / scale) for end in ends)
    return f"{three_digits(value / scale)} ({low}-{high}) {prefix}{unit}"


def short(value: float, unit: str) -> str:
    """Three digits and a prefix: 12.3 kB, 45.6 µs."""
    scale, prefix = _prefix(value)
    return f"{three_digits(value / scale)} {prefix}{unit}".rstrip()


def _prefix(value: float) -> tuple[float, str]:
    prefixes = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"))
    return next((each for each in prefixes if value >= 0.9995 * each[0]), (1e-6, "µ"))


def three_digits(number: float) -> str:
    """1.23, 12.3 or 123."""
    return f"{number:.{2 if number < 9.995 else 1 if number < 99.95 else 0}f}"
