"""Measures what a search's trials came to, one after another, and chooses among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optimization.artifact.findings import SearchResult, Trial
from optimization.artifact.manifest import Quality
from optimization.measuring import evaluate, judging, latency, paired
from optimization.measuring.judging import Judged
from optimization.measuring.latency import Latency
from optimization.measuring.paired import Comparison
from optimization.readers.examples import Dataset
from optimization.recipe.recipe import Search
from optimization.running.workspace import Candidate
from optimization.search import budget, pareto
from optimization.search.space import Variant


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A trial's model, measured."""

    pairs: Comparison
    """Its answers and the teacher's."""
    quality: Quality
    size_bytes: int
    timed: dict[int, Latency]
    """By batch size."""
    cost: float
    """What the search's target makes small."""


def measure(
    settings: Search, teacher: Candidate, models: Mapping[int, Candidate], dataset: Dataset
) -> dict[int, Finished]:
    """Measure each trial's ONNX file, by number, against the teacher's, on the validation examples."""
    task, validation = dataset.task, dataset.validation

    def judged(model: Candidate) -> Judged:
        read = evaluate.predict(model.path, validation, task, model.output)
        return judging.judge(dataset.measure, task, read, validation.labels)

    expected = judged(teacher)
    timed = latency.measure({str(number): each.path for number, each in models.items()}, validation)
    finished = {}
    for number, model in models.items():
        found, size_bytes = judged(model), model.path.stat().st_size
        latency_s = {size: each.median_s for size, each in timed[str(number)].items()}
        finished[number] = Finished(
            pairs=judging.compare(expected, found),
            quality=found.quality(),
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
    front = pareto.front([(finished[number].cost, -finished[number].pairs.drop) for number in order])
    on_front = {order[position] for position in front}
    return SearchResult(
        target=settings.target,
        batch_size=settings.batch_size,
        max_drop=settings.budget.max_drop,
        confidence=settings.budget.confidence,
        measure=finished[chosen].quality.metric,
        is_share=finished[chosen].quality.is_share,
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


def _needed(pairs: Comparison | None, settings: Search, num_trials: int) -> int | None:
    return None if pairs is None else budget.num_samples_needed(pairs, settings.budget, num_trials)
