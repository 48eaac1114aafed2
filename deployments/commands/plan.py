"""`plan MODEL --rate 2000 --p99 50ms`: how many replicas and nodes that takes, and what they cost."""

import argparse
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deployments.commands import client
from deployments.commands.bench import zeros
from deployments.commands.client import Client
from deployments.commands.found import print_found
from deployments.commands.infer import request_of
from deployments.errors import SettingsError
from deployments.placing.traffic import ExpectedModel, Node
from deployments.placing.workload import Workload
from deployments.planning import measuring, service
from deployments.planning.capacity import Prediction, fewest, predicted, replicas_per_node
from deployments.settings import parse

HOURS = 730
"""Of a month."""
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was found."""

    model: str
    source: str
    """Where its times are from."""
    requests_per_s: float
    p99_target_s: float
    call_s: float
    """Seconds that a call of one sample takes."""
    replicas: int
    nodes: int
    """Those that may be lost included."""
    replicas_per_node: int
    p50_s: float
    p99_s: float
    """With the replicas; where nodes may be lost, when they are."""
    p99_of_one_less_s: float | None
    """With one replica less; none where one suffices."""
    utilisation: float
    busy_at_most: float
    """Requests per second that the replicas would answer if they never rested, at the largest batches."""
    cost_per_hour: float | None = None
    """In the unit of the price; none where no price was given, as below."""
    cost_per_month: float | None = None
    cost_per_million: float | None = None
    """Of a million requests at this rate."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `plan`."""
    parser.add_argument("model", help="name of the artifact, or of the model at --url")
    parser.add_argument("--rate", type=float, required=True, metavar="N", help="requests per second")
    parser.add_argument("--p99", type=_seconds, required=True, metavar="TIME", help="of 99 of 100: 50ms, 0.05s")
    parser.add_argument("--node-cpus", type=int, required=True, metavar="N", help="CPUs of a node, for replicas")
    parser.add_argument("--node-memory", default="8GiB", metavar="SIZE", help="memory of a node (default: 8GiB)")
    parser.add_argument("--node-price", type=float, metavar="PRICE", help="of a node for an hour, in any currency")
    parser.add_argument("--spare", type=int, default=0, metavar="N", help="nodes that may be lost (default: 0)")
    parser.add_argument("--ingresses", type=int, metavar="N", help="hosts that clients connect to (default: all nodes)")
    parser.add_argument("--burstiness", type=float, default=1.0, metavar="N", help="as of `place` (default: 1)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads of a replica (default: 1)")
    parser.add_argument("--replica-memory", default="150MiB", metavar="SIZE", help="of each (default: 150MiB)")
    parser.add_argument("--weights", metavar="SIZE", help="memory of the weights on a node (default: the artifact's)")
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="samples of one request (default: 1)")
    parser.add_argument("--artifacts", default="artifacts", help="where artifacts are published")
    parser.add_argument("--url", help="a server that runs the model: its times are measured in place of the manifest's")
    client.add_access(parser)
    parser.add_argument(
        "--file", type=Path, help="with --url: the request to measure, as for infer; zeros if not given"
    )
    parser.add_argument("--measure-s", type=float, default=10.0, metavar="SECONDS", help="with --url (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the simulated arrivals (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace, console: Console) -> int:
    """Plan, and print it."""
    server = client.of(options) if options.url else None
    with Console(stderr=True).status("planning") as state:
        found = planned(options, server, state.update)
    print_found(options, asdict(found), lambda: show(console, found))
    return 0


def planned(options: argparse.Namespace, server: Client | None, say: Say = lambda _: None) -> Plan:
    """The plan that the command line asks for; the times are measured at `server`, else the manifest's.

    Raises:
        ArtifactError: the artifact is missing or damaged.
        CallError: the server does not answer, or refuses.
        InputError: the request cannot be measured.
        SettingsError: a number breaks its rule, or no number of replicas will do.
    """
    _check(options)
    node = parse(Node, {"name": "node", "cpus": options.node_cpus, "memory": options.node_memory}, "node")
    workload, source = _workload(options, server, node, say)
    per_node = replicas_per_node(workload, node)

    def simulating(replicas: int) -> None:
        say(f"simulating {replicas} replicas")

    found = fewest(workload, node, options.p99, num_ingresses=options.ingresses, seed=options.seed, progress=simulating)
    needed = math.ceil(found.replicas / per_node)
    less = _one_less(workload, node, found, options.ingresses or needed, options.seed)
    num_nodes = needed + options.spare
    price = None if options.node_price is None else num_nodes * options.node_price
    calls_of = max(1, workload.max_batch_size // workload.samples)
    return Plan(
        model=options.model,
        source=source,
        requests_per_s=options.rate,
        p99_target_s=options.p99,
        call_s=workload.duration_s(1),
        replicas=found.replicas + options.spare * per_node,
        nodes=num_nodes,
        replicas_per_node=per_node,
        p50_s=found.p50_s,
        p99_s=found.p99_s,
        p99_of_one_less_s=less,
        utilisation=found.utilisation,
        busy_at_most=found.replicas * calls_of / workload.duration_s(calls_of * workload.samples),
        cost_per_hour=price,
        cost_per_month=None if price is None else HOURS * price,
        cost_per_million=None if price is None else price / (3600 * options.rate) * 1e6,
    )


def _workload(options: argparse.Namespace, server: Client | None, node: Node, say: Say) -> tuple[Workload, str]:
    said = {
        "artifact": options.model,
        "requests_per_s": options.rate,
        "burstiness": options.burstiness,
        "num_threads": options.threads,
        "replica_memory": options.replica_memory,
    }
    if options.weights is not None:
        said["weights"] = options.weights
    if server is None:
        model = parse(ExpectedModel, {**said, "samples": options.samples}, "plan")
        found = service.of_manifest(model, node, options.p99, options.artifacts)
        return found, "the manifest: one thread, without network and ingress"
    model = parse(ExpectedModel, {"weights": 0, **said}, "plan")
    described = server.get(f"/v2/models/{options.model}")
    request = request_of(options.file, described) if options.file else zeros(described, options.samples)

    def measuring_for(seconds: float) -> None:
        say(f"measuring {server.url}: {seconds:.0f} of {options.measure_s:g} s")

    samples = measuring.measured(server, options.model, request, options.measure_s, measuring_for)
    num = sum(map(len, samples.latency_s.values()))
    return service.of_samples(model, node, samples), f"{num} requests to {server.url}"


def _one_less(workload: Workload, node: Node, found: Prediction, ingresses: int, seed: int) -> float | None:
    if found.replicas == 1:
        return None
    return predicted(workload, found.replicas - 1, node, num_ingresses=ingresses, seed=seed).p99_s


def show(console: Console, plan: Plan) -> None:
    """The plan as a table and the sentences that it needs."""
    table = Table("replicas", "nodes", "on each", "busy", "p50", "p99", "target", "with one replica less")
    less = "" if plan.p99_of_one_less_s is None else _milliseconds(plan.p99_of_one_less_s)
    times = [_milliseconds(seconds) for seconds in (plan.p50_s, plan.p99_s, plan.p99_target_s)]
    numbers = [str(number) for number in (plan.replicas, plan.nodes, plan.replicas_per_node)]
    table.add_row(*numbers, f"{100 * plan.utilisation:.0f} %", *times, less)
    console.print(table)
    console.print(
        f"{plan.model} at {plan.requests_per_s:g} requests/s; a call of one takes {_milliseconds(plan.call_s)}, by "
        f"{plan.source}; without a pause and at the largest batches, {plan.busy_at_most:.0f} requests/s",
        soft_wrap=True,
    )
    if plan.cost_per_hour is not None:
        console.print(
            f"costs {plan.cost_per_hour:.4g} an hour, {plan.cost_per_month:.6g} a month of {HOURS} hours, "
            f"{plan.cost_per_million:.3g} for a million requests",
            soft_wrap=True,
        )


def _check(options: argparse.Namespace) -> None:
    for option, value, least in (
        ("--rate", options.rate, 0),
        ("--p99", options.p99, 0),
        ("--measure-s", options.measure_s, 0),
    ):
        if not least < value < math.inf:
            raise SettingsError(f"{option} must be above {least}, got {value:g}")
    for option, number, least in (
        ("--samples", options.samples, 1),
        ("--spare", options.spare, 0),
        ("--ingresses", options.ingresses, 1),
    ):
        if number is not None and number < least:
            raise SettingsError(f"{option} must be at least {least}, got {number}")
    if options.node_price is not None and not 0 <= options.node_price < math.inf:
        raise SettingsError(f"--node-price must be at least 0, got {options.node_price:g}")


def _seconds(text: str) -> float:
    """`50ms`, `0.05s` and `0.05` are the same."""
    for unit, factor in (("ms", 1e-3), ("s", 1.0), ("", 1.0)):
        if text.endswith(unit):
            try:
                return float(text.removesuffix(unit)) * factor
            except ValueError:
                break
    raise argparse.ArgumentTypeError(f"must be a time such as 50ms or 0.05s, got {text!r}")


def _milliseconds(seconds: float) -> str:
    return "refused" if math.isinf(seconds) else f"{1000 * seconds:.3g} ms"
