"""Shows a cascade: what it answers rightly, how much it sends on, and what that costs, beside both of its models."""

from collections.abc import Iterator

from markupsafe import Markup
from rich.console import Console

from optimization.artifact.cascade import Cascade, Share
from optimization.artifact.store import Artifact
from optimization.report import plots, terminal
from optimization.report.plots import Dot


def show(console: Console, artifact: Artifact) -> None:
    """Print the table of a cascade and what its numbers mean."""
    found = artifact.manifest.cascade
    assert found is not None, "asked of what has one"
    head, *lines = rows(found)
    table = terminal.columns(*head)
    table.title, table.title_justify = f"{artifact.manifest.name} {artifact.manifest.version}", "left"
    for line in lines:
        table.add_row(*line)
    console.print(table)
    for sentence in statements(found):
        console.print(f"  {sentence}", highlight=False, soft_wrap=True)
    console.print(f"  {artifact.path}", highlight=False, soft_wrap=True)


def rows(found: Cascade) -> Iterator[tuple[str, ...]]:
    """The table, its head first: the student, the cascade and the teacher side by side."""
    held_out = found.held_out
    yield "", "student", "cascade", "teacher"
    yield "accuracy %", *(_percent(each) for each in (held_out.student, held_out.cascade, held_out.teacher))
    yield "sent on %", "0", _percent(held_out.sent), "100"
    for size, student_s in found.student_s.items():
        times = (student_s, found.expected_s(size), found.teacher_s[size])
        yield f"batch {size}", *(terminal.short(each, "s") for each in times)


def statements(found: Cascade) -> Iterator[str]:
    """What the numbers mean, one sentence each."""
    held_out = found.held_out
    yield (
        f"sure from {100 * found.threshold:.4g} % on, by a temperature of {found.temperature:.3g} "
        f"({found.num_temperature:,} validation examples)"
    )
    yield (
        f"budget: at most {terminal.points(found.max_loss)} lost; shown by {found.num_samples:,} other validation "
        f"examples, of which {found.num_lost} were: at most {terminal.points(found.bound)}, with "
        f"{100 * found.confidence:g} % confidence"
    )
    yield (
        f"held out ({held_out.num_samples:,} examples, read once the threshold was chosen): {_percent(held_out.lost)} "
        f"% lost, the student being wrong where its teacher was right; accuracy {-100 * held_out.drop.value:+.2f} "
        f"points against the teacher (95 % interval {-100 * held_out.drop.high:+.2f} to "
        f"{-100 * held_out.drop.low:+.2f})"
    )
    speeds = [
        f"{terminal.three_digits(found.teacher_s[size] / found.expected_s(size))} at batch {size}"
        for size in found.student_s
    ]
    yield f"expected times as fast as the teacher alone: {', '.join(speeds)} (the models' own time)"
    if not found.threshold:
        yield "the student may answer everything: its teacher is never asked"
    if slower := [size for size in found.student_s if found.expected_s(size) >= found.teacher_s[size]]:
        batches = " and ".join(f"batch {size}" for size in slower)
        yield f"no gain at {batches}: the teacher alone takes less time"


def plot(found: Cascade) -> Markup:
    """Accuracy against the share that is sent on, with the threshold that was chosen."""
    held_out = found.held_out
    dots = [
        _dot(held_out.student, 0.0, "step", "student"),
        _dot(held_out.teacher, 1.0, "teacher", "teacher"),
        _dot(held_out.cascade, held_out.sent.value, "chosen", "cascade", held_out.sent),
    ]
    points = [(each.share_sent, each.accuracy) for each in held_out.curve]
    return plots.curve(points, dots, x_name="sent on %", y_name="accuracy %")


def _dot(quality: Share, x: float, kind: str, label: str, across: Share | None = None) -> Dot:
    left, right = (across.low, across.high) if across else (x, x)
    return Dot(x=x, y=quality.value, low=quality.low, high=quality.high, left=left, right=right, kind=kind, label=label)


def _percent(share: Share) -> str:
    """With its interval: 96.2 (94.8-97.2)."""
    return f"{terminal.percent(share.value)} ({terminal.percent(share.low)}-{terminal.percent(share.high)})"
