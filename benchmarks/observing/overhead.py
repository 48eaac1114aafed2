"""What reporting costs the small-MLP server: requests per second and CPU time, with and without it, rounds in turn.

On a machine that others use as well, CPU time per request is the steadier of the two.
"""

import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks.models import mlp
from benchmarks.servers import Server, free_port, infer_path, replica, trimtab
from benchmarks.throughput import CONNECTIONS, Driver, Figures, Rounds, driver_of
from optimization.artifact.store import Artifact

OFF, USUAL, FULL = "off", "usual", "full"
_SETTINGS: dict[str, tuple[float, dict[str, str]]] = {
    OFF: (0.0, {"OTEL_SDK_DISABLED": "true"}),
    USUAL: (0.1, {}),
    FULL: (1.0, {}),
}
"""Share of the requests that are reported as spans, and the environment."""
_SHARE = "/opentelemetry.proto.collector.{0}.v1.{1}Service/Export"
_METHODS = (_SHARE.format("metrics", "Metrics"), _SHARE.format("trace", "Trace"), _SHARE.format("logs", "Logs"))


def figures(rounds: Rounds) -> Figures:
    """Requests/s lost, in percent: all metrics, 10 % of the requests as spans and all that fail; all requests as
    spans. Each server has its own collector on this machine, so what that takes is in it too; `..._cpu_pct` is what the
    replica's CPU time per request rises by, without it.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        artifact = mlp(Path(folder))
        body = _body()
        servers: dict[str, tuple[Server, Driver]] = {}
        for name, (ratio, environment) in _SETTINGS.items():
            server = stack.enter_context(trimtab(artifact, environment=environment, trace_ratio=ratio))
            servers[name] = server, driver_of(server.http_port, infer_path(artifact), body)
        for _, driver in servers.values():  # warm up
            driver(CONNECTIONS, 2)
        rates, costs = _in_turn(servers, artifact, rounds)
    return {
        "overhead_pct": _loss(rates, USUAL),
        "overhead_full_pct": _loss(rates, FULL),
        "overhead_cpu_pct": -_loss(costs, USUAL),
        "overhead_full_cpu_pct": -_loss(costs, FULL),
        "replica_us": statistics.median(costs[OFF]),
    }


def refusal_figures(rounds: Rounds, refuse_s: float) -> Figures:
    """p99 of the server while its collector refuses everything for `refuse_s` seconds, over its p99 before."""
    with tempfile.TemporaryDirectory() as folder, _collector() as (port, refusing):
        artifact = mlp(Path(folder))
        environment = {"TRIMTAB_COLLECTOR": f"http://localhost:{port}"}
        with trimtab(artifact, environment=environment, trace_ratio=0.1) as server:
            driver = driver_of(server.http_port, infer_path(artifact), _body())
            driver(CONNECTIONS, 2)
            number = max(3, round(refuse_s / rounds.seconds))
            found: dict[bool, list[float]] = {False: [], True: []}
            for refuses in (False, True):
                refusing.append(refuses)
                for _ in range(number if refuses else max(3, number // 4)):
                    load = driver(CONNECTIONS, rounds.seconds)
                    found[refuses].append(load.p99_s)
                    print(f"refuses={refuses}  {load}", flush=True)
    before, during = (statistics.median(found[refuses]) for refuses in (False, True))
    return {"refused_p99": during / before}


def _body() -> bytes:
    x = np.random.default_rng(0).standard_normal((1, 128)).round(4).tolist()[0]
    return json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 128], "data": x}]}).encode()


def _in_turn(
    servers: dict[str, tuple[Server, Driver]], artifact: Artifact, rounds: Rounds
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Requests per second, and microseconds of the replica's CPU for each, of each server by round; in each round they
    come in another order."""
    rates: defaultdict[str, list[float]] = defaultdict(list)
    costs: defaultdict[str, list[float]] = defaultdict(list)
    names = list(servers)
    for number in range(rounds.rounds):
        for name in (*names[number % 3 :], *names[: number % 3]):
            server, driver = servers[name]
            process = replica(server, artifact.manifest.name)
            before = process.cpu_times()
            load = driver(CONNECTIONS, rounds.seconds)
            after = process.cpu_times()
            spent_s = after.user + after.system - before.user - before.system
            rates[name].append(load.requests_per_s)
            costs[name].append(1e6 * spent_s / (load.requests_per_s * rounds.seconds))
            print(f"round {number + 1}  {name:6} {load}  {costs[name][-1]:.1f} us", flush=True)
    return rates, costs


def _loss(found: dict[str, list[float]], name: str) -> float:
    """By how many percent `name` is below what is off, the median over rounds."""
    return statistics.median(100 * (1 - on / off) for on, off in zip(found[name], found[OFF], strict=True))


@contextmanager
def _collector() -> Iterator[tuple[int, list[bool]]]:
    """A collector that takes all or refuses all, as the last of the list says; its port, and that."""
    refuses = [False]

    def export(_: bytes, context: Any) -> bytes:
        if refuses[-1]:
            context.abort(grpc.StatusCode.UNAVAILABLE, "no")
        return b""

    handler = grpc.unary_unary_rpc_method_handler(export)

    class Collector(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # no class at run time
        def service(self, details: Any) -> Any:
            return handler if details.method in _METHODS else None

    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Collector(),))
    port = free_port()
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    yield port, refuses
    server.stop(None)
