"""Makes models small: `python -m optimization RECIPE`."""

import argparse
import logging
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pydantic import ByteSize, TypeAdapter
from rich.console import Console

from optimization.artifact import signing, store
from optimization.artifact.manifest import Meaning
from optimization.artifact.push import push
from optimization.artifact.store import Artifact, ArtifactError
from optimization.drafting import command as drafting
from optimization.errors import OptimizationError, RecipeError
from optimization.identity import up_to_date
from optimization.recipe import recipe, sources
from optimization.recipe.recipe import Named, Recipe
from optimization.recipe.settings import Settings
from optimization.recommenders import recipe as recommenders
from optimization.recommenders.recipe import RecommenderRecipe
from optimization.report import terminal
from optimization.report.phases import Phases
from optimization.search import space
from optimization.search.space import Variant
from optimization.sequences import recipe as pairs
from optimization.sequences.recipe import SequenceRecipe
from optimization.sharing import card, hub
from optimization.splitting import command as splitting

if TYPE_CHECKING:
    from optimization.training.checkpoint_store import CheckpointStore

# torch and Ray take seconds to import: only what needs them does so, inside its function.

VERBS = ("init", "run", "inspect", "compare", "cascade", "publish", "card", "push", "sign", "cut", "split-embeddings")
FAILED, UNPROVEN, INTERRUPTED = 2, 3, 130


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says and return the exit code.

    0 done, 2 the user must change something, 3 published but not proven to lie within the budget, 130 stopped.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] not in (*VERBS, "-h", "--help"):
        words.insert(0, "run")
    options = _parser().parse_args(words)
    try:
        match options.verb:
            case "init":
                drafting.run(options, Console())
            case "run":
                return _run(options)
            case "inspect":
                terminal.show(Console(), store.load(options.artifact))
            case "compare":
                _compare(options)
            case "cascade":
                _cascade(options)
            case "publish":
                _publish(options)
            case "split-embeddings":
                splitting.run(options)
            case "sign":
                signing.run(options)
            case "card":
                print(card.write(store.load(options.artifact).manifest), end="")
            case "push":
                is_hub = options.url.startswith(hub.PREFIX)
                print((hub.push if is_hub else push)(options.artifact, options.url))
            case "cut":
                _cut(options)
    except (OptimizationError, ArtifactError) as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("stopped; nothing was published", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m optimization",
        description="Make a trained model small: distil, prune, quantize, export, measure, publish.",
        epilog="`python -m optimization RECIPE` is short for `python -m optimization run RECIPE`.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    drafting.add_arguments(verbs.add_parser("init", help="write a recipe for a model and data that are there already"))

    run = verbs.add_parser("run", help="follow a recipe and publish the small model it describes")
    run.add_argument("recipe", type=Path, help="a YAML file, such as optimization/recipes/signals.yaml")
    run.add_argument("--force", action="store_true", help="make a new version even if the recipe has not changed")
    again = run.add_mutually_exclusive_group()
    again.add_argument(
        "--resume",
        action="store_true",
        help="go on where a run stopped, and use again what was trained of equal parts: what happens anyway",
    )
    again.add_argument(
        "--fresh", action="store_true", help="train and ask anew whatever was kept, and make a new version"
    )
    run.add_argument(
        "--keep-gb",
        type=float,
        default=10.0,
        metavar="GB",
        help="what checkpoints, answers and trials below --runs may take; the longest unused go first (10)",
    )
    run.add_argument(
        "--runs", type=Path, default=Path("runs"), help="where checkpoints and the teacher's answers are kept"
    )
    run.add_argument("--dry-run", action="store_true", help="check all but training, print the plan, and stop")

    inspect = verbs.add_parser("inspect", help="verify an artifact's files and print what is known of it")
    inspect.add_argument("artifact", type=Path, help="a version's directory, such as artifacts/signals/1")

    compare = verbs.add_parser("compare", help="measure two artifacts made from the same data, side by side")
    compare.add_argument("first", type=Path, help="a version's directory, such as artifacts/signals/1")
    compare.add_argument("second", type=Path, help="another one")

    cascade = verbs.add_parser("cascade", help="let a student answer what it is sure of, and its teacher the rest")
    cascade.add_argument("student", type=Path, help="a version's directory; its next version says when it is sure")
    cascade.add_argument("teacher", type=Path, help="its teacher's, such as artifacts/signals-teacher/1")
    cascade.add_argument(
        "--max-loss",
        type=float,
        required=True,
        metavar="POINTS",
        help="examples of a hundred that the student may get wrong where its teacher is right, such as 0.2",
    )
    cascade.add_argument("--confidence", type=float, default=0.95, help="how sure that must be, in [0.5, 1) (0.95)")
    cascade.add_argument(
        "--recipe",
        type=Path,
        help="names data that neither learned from, in place of those they were made from",
    )

    publish = verbs.add_parser("publish", help="make an artifact of an ONNX, Keras or TensorFlow model")
    publish.add_argument("model", type=Path, help="the ONNX or .keras file, or the folder of a SavedModel")
    publish.add_argument("--name", required=True, help="the artifact's name")
    publish.add_argument("--output", choices=get_args(Meaning), help="what its first output is, if its graph is silent")
    publish.add_argument("--stream", type=Path, help="YAML that says how a model that answers step by step is driven")

    described = verbs.add_parser("card", help="print a model card of an artifact, in Markdown")
    described.add_argument("artifact", type=Path, help="a version's directory, such as artifacts/signals/1")

    away = verbs.add_parser("push", help="copy an artifact to where nodes take it from, or to a hub")
    away.add_argument("artifact", type=Path, help="a version's directory, such as artifacts/signals/1")
    away.add_argument(
        "url",
        help="what `artifacts` in serve_config.yaml says, such as s3://bucket/artifacts, or a hub's hf://OWNER/NAME",
    )

    signing.add_arguments(verbs.add_parser("sign", help="sign a version, so that those who ask for it serve no other"))

    cut = verbs.add_parser("cut", help="cut an artifact's graph in stages that different processes or hosts run")
    cut.add_argument("artifact", type=Path, help="a version's directory, such as artifacts/signals/1")
    cut.add_argument("--stages", type=int, required=True, metavar="K", help="how many, 2 and more")
    cut.add_argument("--name", help="the new artifact's name, if not <name>-K-stages")
    cut.add_argument("--batch-size", type=int, default=8, metavar="N", help="samples of the calls that are timed (8)")
    cut.add_argument(
        "--length", type=int, default=64, metavar="N", help="size of their other free dimensions, such as tokens (64)"
    )
    cut.add_argument(
        "--max-weights",
        type=TypeAdapter(ByteSize).validate_python,
        metavar="SIZE",
        help="most that the weights of a stage may take, such as 2GiB",
    )

    halves = verbs.add_parser("split-embeddings", help="take large tables of embeddings out of an artifact's graph")
    splitting.add_arguments(halves)

    for verb in (run, publish, cut, halves):
        verb.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="where artifacts are published")
    return parser


def _run(options: argparse.Namespace) -> int:
    raw = recipe.read(options.recipe)
    match recipe.kind_of_data(raw):
        case "pairs":
            return _run_pairs(options, pairs.parse(raw))
        case "interactions":
            return _run_recommender(options, recommenders.parse(raw))
    wanted = recipe.parse(raw)
    if lacking := sources.missing(wanted.data):
        raise RecipeError("\n".join(lacking))
    variants = space.variants(wanted) if wanted.search else ()
    console = Console()
    if options.dry_run:
        _plan(console, options, wanted, variants)
        return 0
    published = _up_to_date(console, options, wanted)
    if published is not None:
        return _code(published)
    from optimization.running.run import run
    from optimization.search.search import search

    with Phases(console) as phases:
        checkpoints = _checkpoints(options, wanted, phases)
        make = run if wanted.search is None else search
        made = make(wanted, options.artifacts, phases, checkpoints)
    terminal.show(console, made)
    return _code(made)


def _run_pairs(options: argparse.Namespace, wanted: SequenceRecipe) -> int:
    console = Console()
    if options.dry_run:
        _show(console, wanted, {"teacher": wanted.teacher} | {step.kind: step for step in wanted.steps})
        return 0
    if _up_to_date(console, options, wanted) is not None:
        return 0
    from optimization.sequences.run import run

    with Phases(console) as phases:
        made = run(wanted, options.artifacts, phases, _checkpoints(options, wanted, phases))
    terminal.show(console, made)
    return 0


def _run_recommender(options: argparse.Namespace, wanted: RecommenderRecipe) -> int:
    console = Console()
    if options.dry_run:
        _show(console, wanted, {"embeddings": wanted.embeddings, "training": wanted.training})
        return 0
    if _up_to_date(console, options, wanted) is not None:
        return 0
    from optimization.recommenders.run import run

    with Phases(console) as phases:
        made = run(wanted, options.artifacts, options.runs, phases, fresh=options.fresh)
    terminal.show(console, made)
    return 0


def _show(console: Console, wanted: SequenceRecipe | RecommenderRecipe, parts: Mapping[str, Settings]) -> None:
    """What a recipe says, where nothing tells beforehand how long it takes."""
    console.print(f"{wanted.name}: {wanted.data.train}, seed {wanted.seed}, {wanted.workers} workers")
    for name, settings in parts.items():
        console.print(f"  {name:<10} {settings.model_dump(exclude={'kind'})}", highlight=False, soft_wrap=True)


def _code(made: Artifact) -> int:
    found = made.manifest.findings.search
    return UNPROVEN if found is not None and not found.is_proven else 0


def _up_to_date(console: Console, options: argparse.Namespace, wanted: Named) -> Artifact | None:
    """The newest version, shown, if nothing is to be done."""
    if options.force or options.fresh:
        return None
    published, reason = up_to_date.find(wanted, options.artifacts)
    if published is not None:
        terminal.show(console, published)
        console.print(f"up to date: {reason} (--force makes a new version)", soft_wrap=True)
    elif reason:
        console.print(f"making a new version: {reason}", highlight=False, soft_wrap=True)
    return published


def _checkpoints(options: argparse.Namespace, wanted: Named, phases: Phases) -> "CheckpointStore":
    from optimization.training.checkpoint_store import CheckpointStore

    limit_bytes = int(options.keep_gb * 2**30)
    return CheckpointStore(options.runs, wanted.name, fresh=options.fresh, limit_bytes=limit_bytes, say=phases.say)


def _plan(console: Console, options: argparse.Namespace, wanted: Recipe, variants: Sequence[Variant]) -> None:
    """Do all that a run does before it trains, so that what is wrong is told, and print what would follow."""
    from optimization.networks import own_head
    from optimization.readers import data
    from optimization.running import plan
    from optimization.running.rehearsal import rehearse

    began = time.perf_counter()
    dataset = own_head.fit(wanted.teacher, data.load(wanted.data, wanted.seed))
    for each in [wanted, *(variant.recipe for variant in variants)]:
        rehearse(each, dataset)
    with Phases(Console(quiet=True)) as silent:
        kept = _checkpoints(options, wanted, silent)
        found = plan.probed(wanted, variants, dataset, time.perf_counter() - began, kept)
    plan.show(console, wanted, variants, found)


def _compare(options: argparse.Namespace) -> None:
    from optimization.report import compare

    first, second = (store.load(path) for path in (options.first, options.second))
    compare.show(Console(), compare.compare(first, second))


def _cascade(options: argparse.Namespace) -> None:
    from optimization.cascade import calibrate
    from optimization.report import cascade

    wanted = recipe.parse(recipe.read(options.recipe)) if options.recipe else None
    if wanted is not None and (lacking := sources.missing(wanted.data)):
        raise RecipeError("\n".join(lacking))
    student, teacher = (store.load(path) for path in (options.student, options.teacher))
    made = calibrate.calibrate(
        student, teacher, max_loss=options.max_loss / 100, confidence=options.confidence, wanted=wanted
    )
    cascade.show(Console(), made)


def _publish(options: argparse.Namespace) -> None:
    from optimization.running.adopt import adopt

    terminal.show(Console(), adopt(options.model, options.artifacts, options.name, options.stream, options.output))


def _cut(options: argparse.Namespace) -> None:
    from optimization.cutting import command
    from optimization.cutting import report as cuts
    from optimization.cutting.search import Wanted

    artifact = store.load(options.artifact)
    wanted = Wanted(
        stages=options.stages,
        batch_size=options.batch_size,
        length=options.length,
        max_weights=options.max_weights,
    )
    name = options.name or f"{artifact.manifest.name}-{options.stages}-stages"
    with Phases(Console(stderr=True)) as phases, phases.phase(f"find where to cut {artifact.manifest.name}"):
        published, found = command.cut(artifact, options.artifacts, name, wanted)
    cuts.show(Console(), published, found, wanted.batch_size)


if __name__ == "__main__":
    for ending in (signal.SIGINT, signal.SIGTERM):  # a shell starts its background jobs with SIGINT ignored
        signal.signal(ending, signal.default_int_handler)
    sys.exit(main())
