"""Starts tables and Ray Train workers, and hears of them: the one file here that knows Ray.

    python -m deployments table ─▶ keeper, by its name ─▶ what opens the table ─▶ driver and workers
    driver ─▶ Clock (an actor) ◀─ workers

A worker that is lost is replaced by Ray Train, which begins all of them anew where the clock says.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
import yaml
from ray import train as ray_train
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from optimization.errors import TrainError
from optimization.recommenders.clock import Clock
from optimization.recommenders.examples import Examples
from optimization.recommenders.loop import Share, Worker
from optimization.recommenders.network import Recommender
from optimization.recommenders.recipe import RecommenderRecipe
from optimization.recommenders.table import Layout, OpenTable
from optimization.training.stopping import stop

NAMESPACE = "trimtab"
_MAX_LOSSES = 8
"""How often a run may lose workers."""
_WATCH_S = "0.5"
"""How often Ray Train looks whether workers are done or lost."""
_POLL_S = 0.5
_LAST_S = 5.0
"""How long the last acknowledgement may take after the last worker has ended."""
_PATIENCE_S = 20.0
"""How long workers may take to end once they are done."""
_NEVER_S = 1e9
"""Snapshots are taken between epochs alone, when nothing is under way."""


def start_table(recipe: RecommenderRecipe, layout: Layout, snapshots: str) -> tuple[OpenTable, str | None]:
    """Start the recipe's table on this cluster; what opens it, and the last snapshot, with which it began if any.

    Raises:
        TrainError: it could not be started; the message is that of the command.
    """
    name, given = f"{recipe.name}-training", recipe.embeddings
    settings = {
        "table": name,
        "rows": layout.num_rows,
        "width": layout.width,
        "shards": given.shards,
        "copies": given.copies,
        "initial": "normal",
        "seed": recipe.seed,
        "snapshots": snapshots,
        "snapshot_every_s": _NEVER_S,
    }
    with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
        file = Path(folder) / "table.yaml"
        file.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", "deployments", "table", str(file), "--anew", "--json"]
        address = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
        done = subprocess.run(command, env=os.environ | address, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TrainError(f"the table {name!r} must start, got: {done.stderr.strip()}")
    keeper: Any = ray.get_actor(f"embeddings:{name}:keeper", NAMESPACE)
    return ray.get(keeper.trained.remote()), json.loads(done.stdout)["last_snapshot"]


def end_table(recipe: RecommenderRecipe) -> None:
    """End the recipe's table."""
    try:
        ray.get(ray.get_actor(f"embeddings:{recipe.name}-training:keeper", NAMESPACE).end.remote())
    except (ValueError, ray.exceptions.RayActorError):
        return  # it is not there, or ended before it could say so


@dataclass(frozen=True, kw_only=True)
class Work:
    """What all workers need."""

    recipe: RecommenderRecipe
    examples: Examples
    network: Recommender
    layout: Layout
    open_table: OpenTable
    run: int
    """Tells this training's pushes from all others."""

    def share(self, worker: int) -> Share:
        """The steps of one of them."""
        recipe = self.recipe
        return Share(
            examples=self.examples,
            training=recipe.training,
            worker=worker,
            num_workers=recipe.workers,
            seed=recipe.seed,
        )


class Workers:
    """Ray Train workers that train one table, to be used in a `with` statement."""

    def __init__(self, work: Work, epochs_done: int) -> None:
        """All epochs before `epochs_done` are in the table.

        Raises:
            TrainError: the cluster has too few CPUs for all workers, who wait for each other.
        """
        recipe, steps = work.recipe, work.share(0).steps_per_epoch
        num_cpus = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        if num_cpus < recipe.num_cpus:
            rule = f"workers x cpus_per_worker must be at most the cluster's {num_cpus} CPUs"
            raise TrainError(f"{rule}, got {recipe.num_cpus}")
        self._steps = steps
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        beside_driver: dict[str, Any] = {"num_cpus": 0, "scheduling_strategy": here}  # any other node may be lost
        self._clock: Any = ray.remote(**beside_driver)(Clock).remote(
            recipe.workers, max_delay=recipe.training.max_delay, begin=epochs_done * steps
        )
        scaling = ray_train.ScalingConfig(
            num_workers=recipe.workers, resources_per_worker={"CPU": float(recipe.cpus_per_worker)}
        )
        config = {"work": ray.put(work), "clock": self._clock}
        self._run = ray.remote(**beside_driver, max_retries=0)(_run).remote(config, scaling)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            ray.wait([self._run], timeout=_PATIENCE_S)
        else:
            stop(self._run)

    async def epoch(self, number: int) -> float:
        """Let all workers do the epoch, the first being 0; the mean loss, once every copy has all of it.

        Raises:
            TrainError: the workers are gone.
        """
        end = (number + 1) * self._steps
        await self._clock.open.remote(end)
        passed = asyncio.ensure_future(_result(self._clock.passed.remote(end)))
        while not (await asyncio.wait([passed], timeout=_POLL_S))[0]:
            if self._have_ended() and not (await asyncio.wait([passed], timeout=_LAST_S))[0]:
                raise TrainError(f"the workers stopped in epoch {number + 1}: {_problem(self._run)}")
        return passed.result()

    def _have_ended(self) -> bool:
        return bool(ray.wait([self._run], timeout=0)[0])


async def _result(asked: "ray.ObjectRef[float]") -> float:
    return await asked


def _problem(run: Any) -> str:
    try:
        ray.get(run)
    except ray.exceptions.RayError as error:
        return str(error)
    return "they ended too early"


def _run(config: dict[str, Any], scaling: ray_train.ScalingConfig) -> None:
    """Run Ray Train until the workers are done; a task of its own, as in `optimization.training.train`."""
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", _WATCH_S)
    with tempfile.TemporaryDirectory(prefix="trimtab-", ignore_cleanup_errors=True) as storage:
        TorchTrainer(
            work,
            train_loop_config=config,
            scaling_config=scaling,
            run_config=ray_train.RunConfig(
                storage_path=storage, failure_config=ray_train.FailureConfig(max_failures=_MAX_LOSSES)
            ),
        ).fit()


def work(config: dict[str, Any]) -> None:
    """What every worker does."""
    given: Work = ray.get(config["work"])
    rank = ray_train.get_context().get_world_rank()

    async def all_of_it() -> None:
        table, clock = given.open_table(), _RayClock(config["clock"])
        await Worker(given.share(rank), given.network, table, given.layout, clock, given.run).work()

    asyncio.run(all_of_it())


class _RayClock:
    """The clock, called as an actor."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def next_step(self, worker: int) -> int:
        step: int = await self._handle.next_step.remote(worker)
        return step

    async def wait(self, step: int) -> None:
        await self._handle.wait.remote(step)

    async def acknowledge(self, worker: int, step: int, loss: float | None) -> None:
        await self._handle.acknowledge.remote(worker, step, loss)
