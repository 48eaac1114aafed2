"""`python -m optimization init MODEL --data FILE`: a recipe that runs, of a model and data that are there already."""

import argparse
import time
from pathlib import Path
from typing import get_args

from rich.console import Console

from optimization.drafting.task import DraftedTask
from optimization.errors import RecipeError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said of model and data."""
    add = parser.add_argument
    add("model", help="a folder or hub name of Hugging Face, an ONNX or .keras file, or the folder of a SavedModel")
    add("--data", type=Path, required=True, help="a CSV, TSV, JSONL or Parquet file, or a folder of such files")
    add("--output", type=Path, default=Path("recipe.yaml"), metavar="FILE", help="the recipe to write (recipe.yaml)")
    add("--overwrite", action="store_true", help="write over a recipe that is there")
    add("--name", help="the artifact's name, if not the model's")
    add("--text", metavar="COLUMN", help="column of the text, where several could be")
    add("--label", metavar="COLUMN", help="column of the label, where several could be")
    add("--labels", metavar="A,B", help="what the data call the model's classes, in the order of its outputs")
    add("--task", choices=get_args(DraftedTask), help="what the model is for, where it does not tell")
    add("--gives", choices=("logits", "probabilities"), help="what an ONNX file gives, where its graph does not tell")
    add("--tokenizer", help="a tokenizer.json, a folder or a hub name, if not the model's own")
    add("--held-out", type=Path, metavar="FILE", help="examples that only report; else a fifth of --data")
    add("--validation", type=Path, metavar="FILE", help="examples that decide; else a tenth of the others")
    add("--code", metavar="CLASS", help="of a model with Python code of its own: the class of it that may be run")


def run(options: argparse.Namespace, console: Console) -> None:
    """Write the recipe, once it is known to run, and say what it does and how long that takes.

    Raises:
        OptimizationError: model and data do not fit together, or what to take must be said by an option.
    """
    if options.output.exists() and not options.overwrite:
        raise RecipeError(f"--output must be a free name, got {options.output}: name another, or say --overwrite")
    from optimization.drafting.compose import Asked, compose
    from optimization.running import plan

    began = time.perf_counter()
    made = compose(
        Asked(
            model=options.model,
            data=options.data,
            name=options.name,
            text=options.text,
            label=options.label,
            labels=tuple(each.strip() for each in options.labels.split(",")) if options.labels else None,
            task=options.task,
            output=options.gives,
            tokenizer=options.tokenizer,
            held_out=options.held_out,
            validation=options.validation,
            code=options.code,
        )
    )
    found = plan.probed(made.recipe, (), made.dataset, time.perf_counter() - began)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(made.text, encoding="utf-8")
    plan.show(console, made.recipe, (), found)
    console.print(f"written to {options.output}; next: python -m optimization {options.output}", soft_wrap=True)
