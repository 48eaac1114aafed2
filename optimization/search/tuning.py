"""Runs trials in parallel with Ray Tune and stops the hopeless ones early; the one file that knows it.

    driver    run(attempt, ...) ──▶ task: Tuner ──▶ trial: attempt(number, report)
                  ▲                                    │
                  └─ outcomes ──────── Tally ◀─────────┘

Asynchronous successive halving (ASHA, Li 2018, arXiv:1810.05934): at a fifth, and again at three fifths of its
training, a trial goes on only if it is among the better third so far. Better means a smaller shortfall, which is 0 for
all that are good enough: of those none is stopped, since what they cost is measured at the end only.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import ray
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler

from optimization.errors import SearchError
from optimization.training.loop import flush_denormals
from optimization.training.stopping import stop

Outcome = TypeVar("Outcome")
Report = Callable[[float, float], None]
"""Tells Tune the share of a trial's training that is done, and its shortfall."""
Attempt = Callable[[int, Report], Outcome]
"""Makes trial number such-and-such."""

_POLL_S = 0.2
_FIRST_RUNG, _REDUCTION = 20, 3
"""Percent of the training after which a trial is first judged; one in so many goes on."""


@dataclass(frozen=True, kw_only=True)
class Ended(Generic[Outcome]):
    """How a trial ended."""

    outcome: Outcome | None = None
    stopped_at: float | None = None
    """Share of its training after which it was stopped."""
    problem: str | None = None


class Tally(Generic[Outcome]):
    """An actor that keeps what trials made, so that the cluster needs no storage that all nodes share."""

    def __init__(self) -> None:
        self._news: dict[int, Ended[Outcome]] = {}
        self._known: set[int] = set()
        self._shares: dict[int, float] = {}

    def reach(self, number: int, share: float) -> None:
        """Note how far a trial is."""
        self._shares[number] = share

    def end(self, number: int, ended: Ended[Outcome]) -> None:
        """Keep what became of a trial."""
        if number not in self._known:
            self._known.add(number)
            self._news[number] = ended

    def stop(self, number: int) -> None:
        """Note that a trial is over; one that did not say how was stopped."""
        self.end(number, Ended(stopped_at=self._shares.get(number, 0.0)))

    def take(self) -> dict[int, Ended[Outcome]]:
        """What became of those that ended since the last time."""
        news, self._news = self._news, {}
        return news


class _Overs(tune.Callback):
    """Tells the tally of trials that the scheduler stopped."""

    def __init__(self, tally: Any) -> None:
        self._tally = tally

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """Tune calls this once a trial has ended or was stopped."""
        ray.get(self._tally.stop.remote(trial.config["number"]))


def run(
    attempt: Attempt[Outcome],
    numbers: Sequence[int],
    heard: Callable[[int, Ended[Outcome]], None],
    *,
    use_gpu: bool = False,
) -> None:
    """Try those numbers, one on each CPU at a time; `heard` is told of each as it ends.

    Raises:
        SearchError: Tune itself failed.
    """
    tally: Any = ray.remote(num_cpus=0)(Tally).remote()
    tuning = ray.remote(num_cpus=0, max_retries=0)(_tune).remote(ray.put(attempt), list(numbers), tally, use_gpu)
    try:
        is_over = False
        while not is_over:
            is_over = bool(ray.wait([tuning], timeout=_POLL_S)[0])
            for number, ended in ray.get(tally.take.remote()).items():
                heard(number, ended)
        ray.get(tuning)
    except ray.exceptions.RayError as error:
        raise SearchError(f"the search stopped before its trials had ended: {error}") from error
    except BaseException:
        stop(tuning)
        raise


def _tune(attempt: Attempt[Any], numbers: Sequence[int], tally: Any, use_gpu: bool) -> None:
    """Run Tune; a task of its own, so that its signal handlers and its output stay away from the driver's."""
    shared = ray.put(attempt)

    def trial(config: dict[str, Any]) -> None:
        flush_denormals()
        number = config["number"]

        def report(share: float, shortfall: float) -> None:
            ray.get(tally.reach.remote(number, share))
            # At 100 Tune ends a trial, though it still has to be exported.
            tune.report({"percent": min(99, round(100 * share)), "shortfall": shortfall})

        try:
            ended: Ended[Any] = Ended(outcome=ray.get(shared)(number, report))
        except Exception as error:  # noqa: BLE001  # a trial that fails is a result: the others go on
            ended = Ended(problem=str(error) or type(error).__name__)
        ray.get(tally.end.remote(number, ended))

    scheduler = AsyncHyperBandScheduler(
        time_attr="percent",
        metric="shortfall",
        mode="min",
        max_t=100,
        grace_period=_FIRST_RUNG,
        reduction_factor=_REDUCTION,
    )
    with tempfile.TemporaryDirectory(prefix="trimtab-", ignore_cleanup_errors=True) as storage:
        results = tune.Tuner(
            tune.with_resources(trial, {"cpu": 1, "gpu": int(use_gpu)}),
            param_space={"number": tune.grid_search(list(numbers))},
            tune_config=tune.TuneConfig(scheduler=scheduler),
            run_config=tune.RunConfig(name="search", storage_path=storage, verbose=0, callbacks=[_Overs(tally)]),
        ).fit()
        for position, number in enumerate(numbers):
            error = results[position].error
            if error is not None:  # its process died: what fails otherwise is caught above
                ray.get(tally.end.remote(number, Ended(problem=str(error).strip().splitlines()[-1])))
