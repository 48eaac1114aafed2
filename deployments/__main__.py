"""The command line: `python -m deployments list | status | infer | bench | score | place | table | push | ...`."""

import argparse
import importlib
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from deployments.access import keys
from deployments.access.guard import ACCESS, OPEN
from deployments.commands import artifacts, bench, client, infer, key, status
from deployments.commands.found import print_found
from deployments.errors import CallError, InputError, ScoringError, SettingsError, UnavailableError
from deployments.offline import options as score_options
from deployments.pushed.rate import MB_PER_S
from optimization.artifact.store import ArtifactError

FAILED, INTERRUPTED = 2, 130
MODULES = {
    "rollout": "let a version take over step by step, watched; docs/rollout.md says more",
    "retrain": "train a model again when an alert says so; docs/retraining.md says more",
    "doctor": "what is wrong with this machine, the settings, the hosts or the cluster, and what to do",
    "node": "Ray on this host of a cluster: start, drain or stop it; docs/clusters/on-premises.md says more",
    "manifest": "the same cluster as manifests for Kubernetes; docs/kubernetes.md says more",
    "plan": "how many replicas and nodes a rate and a latency take; docs/operations.md says more",
}
"""Verbs that are modules of `deployments.commands` and have options of their own; only the one that is asked for is
imported."""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit code: 0 done, 2 something is to be mended, 130 stopped."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser, modules = _parser()
    module = importlib.import_module(f"deployments.commands.{words[0]}") if words and words[0] in MODULES else None
    if module:
        module.add_arguments(modules[words[0]])
    options = parser.parse_args(words)
    console = Console(highlight=False)
    try:
        if module:
            return int(module.run(options, console))
        match options.verb:
            case "list":
                rows, trouble = artifacts.listed(options.artifacts, client.of(options))
                print_found(options, rows, lambda: artifacts.show(console, rows, trouble))
            case "status":
                found = status.gathered(client.of(options))
                print_found(options, found, lambda: status.show(console, found))
                return 0 if found["ready"] else FAILED
            case "infer":
                answer = infer.answered(client.of(options), options.model, options.file, options.top)
                print_found(options, answer, lambda: infer.show(console, answer))
            case "bench":
                _bench(options, console)
            case "score":
                _score(options, console)
            case "place":
                _place(options, console)
            case "table":
                _table(options, console)
            case "push":
                _push(options, console)
            case "withdraw":
                _withdraw(options)
            case "key":
                _key(options, console)
    except (ArtifactError, CallError, InputError, ScoringError, SettingsError, UnavailableError) as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the command line, and those of the verbs that are modules, still without options."""
    parser = argparse.ArgumentParser(
        prog="python -m deployments",
        description="Look at what is served, push versions, try and measure it, score files, and say who may call it.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    listing = verbs.add_parser("list", help="artifacts on disk, and which of them are served")
    listing.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="where artifacts are published")

    state = verbs.add_parser("status", help="health, models, replicas, versions, latency and alerts of a server")

    one = verbs.add_parser("infer", help="send a model one request made of a file")
    one.add_argument("model")
    one.add_argument("file", type=Path, help="a request or elements as .json, an array as .npy, .txt, .jpg, .png")
    one.add_argument("--top", type=int, metavar="N", help="show the N highest classes of each output")

    load = verbs.add_parser("bench", help="load a model and measure requests per second and latency")
    load.add_argument("model")
    load.add_argument("--file", type=Path, help="the request to repeat, as for infer; zeros if not given")
    load.add_argument("--batch", type=_positive, default=1, help="samples of zeros in one request (default: 1)")
    load.add_argument("--connections", type=_positive, default=32, help="requests under way at once (default: 32)")
    load.add_argument("--duration", type=float, default=10.0, metavar="SECONDS", help="(default: 10)")

    for verb in (listing, state, one, load):
        client.add_arguments(verb)
        verb.add_argument("--json", action="store_true", help="print JSON")
    scoring = verbs.add_parser("score", help="score every row of files, on a cluster or this machine alone")
    score_options.add_arguments(scoring)
    scoring.add_argument("--json", action="store_true", help="print JSON")
    pushing = verbs.add_parser("push", help="put a version into the cluster that runs, for models of `cluster://`")
    pushing.add_argument("artifact", type=Path, help="its directory; the newest version where that holds several")
    pushing.add_argument(
        "--mb-per-s",
        type=_rate,
        default=MB_PER_S,
        metavar="N",
        help=f"most that a node takes, and gives (default: {MB_PER_S:g})",
    )
    pushing.add_argument("--json", action="store_true", help="print JSON")
    away = verbs.add_parser("withdraw", help="take a pushed version back: replicas return to the one before")
    away.add_argument("version", metavar="NAME/VERSION")
    _add_place(verbs.add_parser("place", help="propose which models go on which nodes; docs/placement.md says more"))
    held = verbs.add_parser("table", help="start a table of embeddings on the running cluster, to be trained")
    held.add_argument("file", type=Path, help="a YAML file: the args of `deployments.app:embeddings`")
    held.add_argument("--anew", action="store_true", help="end one of that name first; begin from its last snapshot")
    held.add_argument("--json", action="store_true", help="print JSON")
    _add_key(verbs.add_parser("key", help="make, list and revoke keys; docs/access.md says more"))
    return parser, {name: verbs.add_parser(name, help=text, description=text) for name, text in MODULES.items()}


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("traffic", type=Path, help="a YAML file: models, what they are asked, perhaps nodes")
    parser.add_argument("--nodes", type=_positive, metavar="N", help="equal nodes, where the file names none")
    parser.add_argument("--cpus", type=_positive, metavar="N", help="CPUs of each")
    parser.add_argument("--memory", metavar="SIZE", help="memory of each, such as 8GiB")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the serve_config.yaml of the proposal here")
    parser.add_argument(
        "--requests", type=_positive, default=20_000, metavar="N", help="requests to simulate (default: 20000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the simulated arrivals (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_key(parser: argparse.ArgumentParser) -> None:
    doings = parser.add_subparsers(dest="doing", required=True, metavar="add | list | revoke")
    add = doings.add_parser("add", help="make a key and print it, once")
    add.add_argument("id", help="its name, as the audit log shows it")
    add.add_argument("--models", nargs="+", default=[], metavar="GLOB", help="models it opens (default: all)")
    add.add_argument("--rate", type=float, metavar="N", help="requests per second in the long run (default: any)")
    add.add_argument("--burst", type=int, metavar="N", help="requests at once before the rate holds (default: 10)")
    add.add_argument("--days", type=float, metavar="N", help="days until it expires (default: never)")
    add.add_argument("--admin", action="store_true", help="let it load and unload models and see the telemetry page")
    listing = doings.add_parser("list", help="the keys of the file; none of them is shown")
    listing.add_argument("--json", action="store_true", help="print JSON")
    revoke = doings.add_parser("revoke", help="end a key; what serves follows within a second")
    revoke.add_argument("id")
    named = os.environ.get(ACCESS, OPEN)
    default = Path("keys.yaml" if named == OPEN else named)
    for doing in (add, listing, revoke):
        doing.add_argument("--file", type=Path, default=default, help=f"the file of keys (default: {default})")


def _bench(options: argparse.Namespace, console: Console) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("connecting", total=options.duration)

        def progress(seconds: float, answered: int) -> None:
            bar.update(task, completed=seconds, description=f"{answered / seconds:.0f} requests/s")

        found = bench.measured(
            client.of(options),
            options.model,
            connections=options.connections,
            duration_s=options.duration,
            file=options.file,
            batch=options.batch,
            progress=progress,
        )
    print_found(options, asdict(found), lambda: bench.show(console, found))


def _place(options: argparse.Namespace, console: Console) -> None:
    from deployments.commands import place  # brings ONNX Runtime, without which the other verbs start twice as fast
    from deployments.placing import traffic

    if options.output:
        place.check_new(options.output)
    expected = traffic.read(options.traffic)
    nodes = traffic.chosen_nodes(expected, options.nodes, options.cpus, options.memory)
    with Console(stderr=True).status("simulating") as state:
        found = place.proposed(
            expected,
            nodes,
            num_requests=options.requests,
            seed=options.seed,
            progress=lambda number: state.update(f"{number} placements simulated"),
        )
    if options.output:
        place.write(options.output, found)
    print_found(options, asdict(found), lambda: place.show(console, found))


def _score(options: argparse.Namespace, console: Console) -> None:
    from deployments.commands import score  # Ray and Arrow take seconds to import: no other command waits for them
    from deployments.offline import on_ray

    try:
        spread = partial(on_ray.spread, num_workers=options.workers, niceness=options.niceness)
        found = score.scored(options, spread)
    except KeyboardInterrupt:
        print(score.STOPPED, file=sys.stderr)
        raise
    print_found(options, score.summary(found, options.output), lambda: score.show(console, found, options.output))


def _table(options: argparse.Namespace, console: Console) -> None:
    from deployments.embeddings import start  # Ray takes a second to import

    settings = start.read(options.file)
    health = start.start(settings, anew=options.anew)
    ends = "it ends 10 minutes after its last use"
    print_found(
        options, health, lambda: console.print(f"{settings.table}: {settings.shards} shards are loaded; {ends}")
    )


def _push(options: argparse.Namespace, console: Console) -> None:
    from deployments.commands import push  # Ray takes seconds to import: no other command waits for it
    from deployments.pushed import actors

    actors.connect()
    with Console(stderr=True).status("pushing"):
        found = push.pushed(options.artifact, actors.RayStores(), actors.catalogue(), options.mb_per_s)
    print_found(options, asdict(found), lambda: push.show(console, found))


def _withdraw(options: argparse.Namespace) -> None:
    from deployments.commands import push
    from deployments.pushed import actors

    actors.connect()
    push.withdrawn(options.version, actors.RayStores(), actors.catalogue())
    print(f"{options.version} is withdrawn", file=sys.stderr)


def _key(options: argparse.Namespace, console: Console) -> None:
    match options.doing:
        case "add":
            limits = {"requests_per_s": options.rate, "burst": options.burst, "days": options.days}
            text = key.add(options.file, options.id, models=options.models, admin=options.admin, **limits)
            print(f"key {options.id!r} is in {options.file}; this is the one time it is shown:", file=sys.stderr)
            print(text)
        case "list":
            print_found(options, key.listed(options.file), lambda: key.show(console, options.file))
        case "revoke":
            keys.revoke(options.file, options.id)
            print(f"key {options.id!r} is revoked", file=sys.stderr)


def _rate(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


if __name__ == "__main__":
    sys.exit(main())
