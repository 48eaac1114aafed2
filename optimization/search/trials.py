"""Measures what a search's trials came to, one after another, and chooses among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimization.artifact.findings import SearchResult, Trial
from optimization.artifact.manifest import Quality
from optimization.measuring import evaluate, latency, paired
from optimization.measuring.latency import Latency
from optimization.measuring.paired import Pairs
from optimization.readers.examples import Split
from optimization.recipe.recipe import Search
from optimization.running.workspace import Candidate
from optimization.search import budget, pareto
from optimization.search.space import Variant
from optimization.tasks.task import LabelledTask


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A trial's model, measured."""

    pairs: Pairs
    """Its answers and the teacher's."""
    quality: Quality
    size_bytes: int
    timed: dict[int, Latency]
    """By batch size."""
    cost: float
    """What the search's target makes small."""


def measure(
    settings: Search, teacher: Candidate, models: Mapping[int, Candidate], held_out: Split, task: LabelledTask
) -> dict[int, Finished]:
    """Measure each trial's ONNX file, by number, against the teacher's."""

    def right_in(model: Candidate) -> NDArray[np.bool_]:
        return task.right(task.answers(evaluate.predict(model.path, held_out, task, model.output)), held_out.labels)

    expected = right_in(teacher)
    timed = latency.measure({str(number): each.path for number, each in models.items()}, held_out)
    finished = {}
    for number, model in models.items():
        right, size_bytes = right_in(model), model.path.stat().st_size
        latency_s = {size: each.median_s for size, each in timed[str(number)].items()}
        finished[number] = Finished(
            pairs=Pairs.of(expected, right),
            quality=evaluate.quality(right),
            size_bytes=size_bytes,
            timed=timed[str(number)],
            cost=budget.cost(settings.target, settings.batch_size, size_bytes=size_bytes, latency_s=latency_s),
        )
    return finished


def judge(
    settings: Search, variants: Sequence[Variant], finished: Mapping[int, Finished], notes: Mapping[int, Trial]
) -> SearchResult:
    """Choose among the trials that were finished; `notes` tell of the others."""
    numbers = range(len(variants))
    pairs = [finished[number].pairs if number in finished else None for number in numbers]
    costs = [finished[number].cost if number in finished else 0.0 for number in numbers]
    within, chosen = budget.proven(pairs, settings.budget), budget.choose(pairs, costs, settings.budget)
    order = list(finished)
    front = pareto.front([(finished[number].cost, finished[number].quality.value) for number in order])
    on_front = {order[position] for position in front}
    return SearchResult(
        target=settings.target,
        batch_size=settings.batch_size,
        max_drop=settings.budget.max_drop,
        confidence=settings.budget.confidence,
        chosen=chosen,
        is_proven=within[chosen],
        num_samples_needed=None if within[chosen] else _needed(pairs[chosen], settings, len(variants)),
        trials=tuple(
            Trial(
                settings=variants[number].settings,
                outcome="measured",
                accuracy=each.quality.value,
                low=each.quality.low,
                high=each.quality.high,
                drop=each.pairs.drop,
                p_value=paired.p_value(each.pairs, settings.budget.max_drop),
                is_proven=within[number],
                size_bytes=each.size_bytes,
                latency_s={size: one.median_s for size, one in each.timed.items()},
                latency_interval_s={size: one.interval_s for size, one in each.timed.items()},
                on_front=number in on_front,
            )
            if (each := finished.get(number))
            else notes[number]
            for number in numbers
        ),
    )


def _needed(pairs: Pairs | None, settings: Search, num_trials: int) -> int | None:
    return None if pairs is None else budget.num_samples_needed(pairs, settings.budget, num_trials)
