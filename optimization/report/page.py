"""Writes `terminal.html`: what the manifest knows, for people, in one file that loads nothing from elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib import resources

import yaml
from jinja2 import Environment
from markupsafe import Markup

from optimization.artifact.findings import Difference, SearchResult, Trial
from optimization.artifact.manifest import Manifest, Measurement, Quality
from optimization.report import cascade, plots, terminal
from optimization.report.plots import Dot
from optimization.search import pareto

MAX_CLASSES = 20
"""A table of confusions is shown up to so many classes, and the weakest so many of more."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of the headline."""

    value: str
    meaning: str
    is_bad: bool = False


@dataclass(frozen=True, kw_only=True)
class ClassQuality:
    """How one class fares."""

    name: str
    num_samples: int
    recall: float
    """Share of its examples that are recognised."""
    precision: float
    """Share of the examples called by its name that are its own."""


def render(manifest: Manifest) -> str:
    """The page as HTML."""
    found = manifest.findings
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "percent": terminal.percent,
        "amount": terminal.amount,
        "seconds": partial(terminal.interval, unit="s"),
        "size": partial(terminal.short, unit="B"),
        "plain": terminal.plain,
    }
    template = environment.from_string(resources.files("optimization.report").joinpath("page.html").read_text("utf-8"))
    return template.render(
        manifest=manifest,
        found=found,
        headline=list(_headline(manifest)),
        statements=list(terminal.statements(manifest)),
        pareto=_pareto(manifest),
        cascade=manifest.cascade,
        cascade_plot=cascade.plot(manifest.cascade) if manifest.cascade else None,
        cascade_rows=list(cascade.rows(manifest.cascade)) if manifest.cascade else [],
        allowance=terminal.allowance,
        heading=terminal.heading,
        gained=_gained,
        between=terminal.between,
        losses=plots.lines(found.losses, x_name="epoch", y_name="training loss") if found.losses else None,
        classes=_classes(manifest),
        max_classes=MAX_CLASSES,
        recipe=_recipe(manifest),
    )


def _recipe(manifest: Manifest) -> str | None:
    if manifest.recipe is None:
        return None
    written = {name: value for name, value in manifest.recipe.items() if value is not None}
    return yaml.safe_dump(written, sort_keys=False, default_flow_style=None, width=100)


def _headline(manifest: Manifest) -> Iterator[Figure]:
    teacher, final = terminal.measured(manifest, "teacher"), manifest.measurements[-1:]
    if teacher is None or not final or final[0] is teacher:
        return
    (last,) = final
    yield Figure(
        value=_told(last.quality),
        meaning=f"{last.quality.metric}, teacher {_told(teacher.quality)}",
    )
    yield Figure(value=f"{teacher.size_bytes / last.size_bytes:.1f} x", meaning="smaller file than the teacher's")
    for size, latency_s in last.latency_s.items():
        yield Figure(value=f"{teacher.latency_s[size] / latency_s:.1f} x", meaning=f"faster at batch {size}")
    if manifest.findings.search is not None:
        search = manifest.findings.search
        yield Figure(
            value="proven" if search.is_proven else "not proven",
            meaning=f"loses at most {terminal.allowance(search)}, {100 * search.confidence:g} % confidence",
            is_bad=not search.is_proven,
        )


def _told(quality: Quality) -> str:
    return terminal.amount(quality.value, is_share=quality.is_share) + (" %" if quality.is_share else "")


def _pareto(manifest: Manifest) -> Markup | None:
    """Latency against quality: each step's model, and each trial's where there was a search."""
    search, steps = manifest.findings.search, manifest.measurements
    if not steps:
        return None
    size = search.batch_size if search else min(steps[0].latency_s)
    quality = steps[0].quality
    trials = [_trial_dot(each, size, quality) for each in search.trials if each.outcome == "measured"] if search else []
    dots = [*trials, *(_step_dot(each, size, is_chosen=each is steps[-1]) for each in steps)]
    teacher = terminal.measured(manifest, "teacher")
    return plots.scatter(
        dots,
        x_text=partial(terminal.short, unit="s"),
        x_name=f"latency at batch {size}",
        y_name=terminal.heading(quality),
        y_text=partial(_tick, is_share=quality.is_share),
        floor=_floor(teacher.quality, search) if search and teacher else None,
        front=_front(search, size) if search else (),
    )


def _step_dot(each: Measurement, size: int, *, is_chosen: bool) -> Dot:
    ends = each.latency_interval_s.get(size, (each.latency_s[size],) * 2)
    return Dot(
        x=each.latency_s[size],
        y=each.quality.value,
        low=each.quality.low,
        high=each.quality.high,
        left=ends[0],
        right=ends[1],
        kind="chosen" if is_chosen else each.step if each.step in ("teacher", "control") else "step",
        label=each.step,
        note=f"{each.step}: {_told(each.quality)}, "
        + terminal.interval(each.latency_s[size], each.latency_interval_s.get(size), "s"),
    )


def _gained(lost: Difference) -> str:
    """How much better the other is, without a unit: the column's heading has it."""
    return f"{-100 * lost.drop:+.2f}" if lost.is_share else f"{-lost.drop:+.3g}"


def _tick(value: float, *, is_share: bool) -> str:
    return f"{100 * value if is_share else value:.4g}"


def _floor(teacher: Quality, search: SearchResult) -> float:
    """What a model within the budget reaches, or stays below where lower is better."""
    return teacher.value + search.max_drop if teacher.lower_is_better else teacher.value - search.max_drop


def _trial_dot(trial: Trial, size: int, quality: Quality) -> Dot:
    assert trial.accuracy is not None
    ends = trial.latency_interval_s.get(size, (trial.latency_s[size],) * 2)
    return Dot(
        x=trial.latency_s[size],
        y=trial.accuracy,
        low=trial.accuracy if trial.low is None else trial.low,
        high=trial.accuracy if trial.high is None else trial.high,
        left=ends[0],
        right=ends[1],
        kind="trial proven" if trial.is_proven else "trial",
        note=f"{terminal.settings(trial.settings)}: {_told(quality.model_copy(update={'value': trial.accuracy}))}, "
        + terminal.interval(trial.latency_s[size], trial.latency_interval_s.get(size), "s"),
    )


def _front(search: SearchResult, size: int) -> list[tuple[float, float]]:
    """The best quality up to each latency, whatever the target was."""
    measured = [each for each in search.trials if each.outcome == "measured"]
    best = pareto.front([(each.latency_s[size], -(each.drop or 0.0)) for each in measured])
    return [(measured[index].latency_s[size], measured[index].accuracy or 0.0) for index in best]


def _classes(manifest: Manifest) -> list[ClassQuality]:
    """Each class, the weakest first where there are too many to show all."""
    confusion = manifest.findings.confusion
    names = manifest.labels or tuple(map(str, range(len(confusion))))
    columns = [sum(row[index] for row in confusion) for index in range(len(confusion))]
    found = [
        ClassQuality(
            name=names[index],
            num_samples=sum(row),
            recall=row[index] / max(1, sum(row)),
            precision=row[index] / max(1, columns[index]),
        )
        for index, row in enumerate(confusion)
    ]
    return found if len(found) <= MAX_CLASSES else sorted(found, key=lambda each: each.recall)[:MAX_CLASSES]
