"""`place TRAFFIC.yaml`: what to put on which node, found by simulation, and the `serve_config.yaml` that says so."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deployments.errors import SettingsError
from deployments.placing.arrivals import arrivals
from deployments.placing.config import config, start_options, text
from deployments.placing.placement import Placement, co_located, memory_bytes, split
from deployments.placing.search import Progress, search, takes
from deployments.placing.simulation import simulate
from deployments.placing.traffic import Node, Traffic
from deployments.placing.workload import workloads

_PROPOSED = "proposed"


@dataclass(frozen=True, kw_only=True)
class ModelFigures:
    """One model in the simulation of a placement."""

    name: str
    replicas: dict[str, int]
    """By node."""
    num_requests: int
    p50_s: float | None
    p99_s: float | None
    """Of the requests that were answered, as is p50; none where there was none."""
    target_s: float
    within_target: float
    """Share of the requests that were answered within the target; those that were refused were not."""


@dataclass(frozen=True, kw_only=True)
class NodeFigures:
    """One node in it."""

    name: str
    load: float
    """Share of its CPU time that is used."""
    used_bytes: int
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class PlacementFigures:
    """One of the placements that were compared."""

    placement: str
    replicas: int
    worst_within_target: float
    """Of the model that fares worst."""
    takes: float
    """How many times the expected traffic it takes, so that each model keeps the goal."""
    models: tuple[ModelFigures, ...]
    nodes: tuple[NodeFigures, ...]


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What was found; `compared` holds it first, then the plain ways."""

    compared: tuple[PlacementFigures, ...]
    num_simulated: int
    goal: float
    ray_start: dict[str, str]
    """Options that Ray's nodes are to be started with, by node, for the placement to be followed."""
    serve_config: str


def proposed(
    traffic: Traffic, nodes: Sequence[Node], *, num_requests: int, seed: int, progress: Progress = lambda _: None
) -> Proposal:
    """Search with `num_requests` simulated requests, and measure what was found on as many others.

    Raises:
        ArtifactError: an artifact whose manifest is needed is missing or damaged.
        SettingsError: a model lacks what is needed, or cannot be placed.
    """
    models = workloads(traffic, nodes)
    found, num_simulated = search(
        models,
        nodes,
        num_requests=num_requests,
        seed=seed,
        goal=traffic.goal,
        headroom=traffic.headroom,
        progress=progress,
    )
    # What decides is not what reports: other arrivals than those that the placement was chosen on.
    times = arrivals(models, num_requests, seed + 1)

    def figures(name: str, placement: Placement) -> PlacementFigures:
        done = simulate(models, nodes, placement, times)
        of_models = tuple(
            ModelFigures(
                name=model.name,
                replicas={node.name: count for node, count in zip(nodes, on, strict=True)},
                num_requests=len(answered.latency_s),
                p50_s=answered.quantile_s(0.5),
                p99_s=answered.quantile_s(0.99),
                target_s=model.latency_target_s or 0.0,
                within_target=answered.share_within(model.latency_target_s),
            )
            for model, on, answered in zip(models, placement, done.models, strict=True)
        )
        of_nodes = tuple(
            NodeFigures(
                name=node.name,
                load=load,
                used_bytes=memory_bytes(models, placement, at),
                memory_bytes=node.memory,
            )
            for at, (node, load) in enumerate(zip(nodes, done.utilisation, strict=True))
        )
        return PlacementFigures(
            placement=name,
            replicas=sum(map(sum, placement)),
            worst_within_target=min(model.within_target for model in of_models),
            takes=takes(models, nodes, placement, times, traffic.goal),
            models=of_models,
            nodes=of_nodes,
        )

    named = {
        _PROPOSED: found,
        "each model on one node": split(models, nodes),
        "all models on all nodes": co_located(models, nodes),
    }
    return Proposal(
        compared=tuple(figures(name, placement) for name, placement in named.items()),
        num_simulated=num_simulated,
        goal=traffic.goal,
        ray_start=start_options(traffic, nodes, found),
        serve_config=text(config(traffic, nodes, found), traffic, nodes, found),
    )


def check_new(path: Path) -> None:
    """Find out before the search whether its result may be written.

    Raises:
        SettingsError: the file is there already, or its folder is not.
    """
    if path.exists():
        raise SettingsError(f"--output must name a new file, got {path}, which exists")
    if not path.parent.is_dir():
        raise SettingsError(f"--output must lie in a folder, got {path}: there is no {path.parent}")


def write(path: Path, proposal: Proposal) -> None:
    """Write the `serve_config.yaml` of the proposal.

    Raises:
        SettingsError: the file cannot be written, or has come to be meanwhile.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(proposal.serve_config)
    except OSError as error:
        raise SettingsError(f"--output must name a file that can be written, got {path}: {error.strerror}") from error


def show(console: Console, proposal: Proposal) -> None:
    """The proposal as tables."""
    found = proposal.compared[0]
    table = Table("model", "replicas", "requests", "p50", "p99", "target", "in time", title=_PROPOSED)
    for model in found.models:
        where = ", ".join(f"{name} {count}" for name, count in model.replicas.items() if count)
        times = [_milliseconds(seconds) for seconds in (model.p50_s, model.p99_s, model.target_s)]
        in_time = _percent(model.within_target) if model.num_requests else ""
        table.add_row(model.name, where, str(model.num_requests), *times, in_time)
    console.print(table)
    table = Table("node", "CPUs busy", "memory")
    for node in found.nodes:
        memory = f"{node.used_bytes / 2**30:.2f} of {node.memory_bytes / 2**30:.2f} GiB"
        table.add_row(node.name, _percent(node.load), memory)
    console.print(table)
    table = Table("placement", "replicas", "in time, worst model", f"traffic it takes at {100 * proposal.goal:g} %")
    for each in proposal.compared:
        taken = f"{each.takes:.2f} times" if each.takes else "not 0.01 times"
        table.add_row(each.placement, str(each.replicas), _percent(each.worst_within_target), taken)
    console.print(table)
    console.print(f"{proposal.num_simulated} placements simulated", style="dim")
    if found.worst_within_target < proposal.goal:
        worst = min(found.models, key=lambda model: model.within_target)
        console.print(
            f"no placement was found that answers {100 * proposal.goal:g} % of each model's requests in time: "
            f"{worst.name} comes to {_percent(worst.within_target)}; add nodes or CPUs, or give it more time",
            style="yellow",
            soft_wrap=True,
        )
    for name, option in proposal.ray_start.items():
        console.print(f"start Ray on {name} with {option}", soft_wrap=True)


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:.3g} ms"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
