"""Puts what is wrong with a recipe into words: *name, rule, what was got*."""

import difflib
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from optimization.errors import RecipeError

Checked = TypeVar("Checked", bound=BaseModel)


def checked(kind: type[Checked], raw: dict[str, Any]) -> Checked:
    """The settings `raw` as a recipe of that `kind`.

    Raises:
        RecipeError: settings break their rules; the message names all that were found, one a line.
    """
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise RecipeError("\n".join(phrase(item, raw) for item in error.errors())) from error


def phrase(item: ErrorDetails, raw: dict[str, Any]) -> str:
    """One problem of the recipe `raw`, such as `prune.ratio must lie in (0, 1), got 1.5`."""
    name, got = _name(item["loc"], raw), item["input"]
    match item["type"]:
        case "unknown":
            return f"{name or 'recipe'} has an {item['msg']}"
        case "misfit":
            return item["msg"]
        case "missing":
            return f"{name} is missing"
        case "union_tag_not_found":
            return f"{name}.kind is missing"
        case "union_tag_invalid":
            known = [tag.strip("' ") for tag in item["ctx"]["expected_tags"].split(",")]
            tag = item["ctx"]["tag"]
            return f"{name}.kind must be one of {', '.join(known)}, got {tag!r}{nearest(tag, known, say_all=False)}"
        case "rule" if name == "steps" or name.endswith("transfer"):
            return f"{name} {item['msg']}, got {_kinds(got)}"
        case _:
            return f"{name} {item['msg'].replace('Input should', 'must')}, got {got!r}"


def nearest(word: object, known: list[str], *, say_all: bool = True) -> str:
    """A hint at the known word that `word` may be a misspelling of, else at all of them."""
    near = difflib.get_close_matches(str(word), known, n=1)
    if near:
        return f", did you mean {near[0]!r}?"
    return f"; known are {', '.join(known)}" if say_all else ""


def _name(location: tuple[int | str, ...], raw: Any) -> str:
    """`prune.ratio` for ("steps", 1, "prune", "ratio"): what is listed goes by its kind; other kinds are left out.

    The list of steps itself is left out as well, others are not: `distill.transfer.hidden.weight`.
    """
    names: list[int | str] = []
    for part in location:
        if isinstance(raw, dict) and part not in raw and part == raw.get("kind"):
            is_step = len(names) == 2
            names = [*([] if is_step else names[:-1]), part] if isinstance(names[-1], int) else names
            continue
        names.append(part)
        is_there = part in raw if isinstance(raw, dict) else isinstance(raw, list) and isinstance(part, int)
        raw = raw[part] if is_there else None
    return "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in names).lstrip(".")


def _kinds(steps: Any) -> str:
    return ", ".join(str(step.get("kind", step)) if isinstance(step, dict) else str(step) for step in steps) or "none"
