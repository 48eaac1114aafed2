"""What INT8 costs and saves over the recipes that need no files, measured where INT8 is not what is served too."""

from benchmarks.figures.setting import RECIPES, Figures, Setting, follow, load, measured

KEYS = ("int8_drop", "int8_size")
_RECIPES = ("digits", "mnist1d")


def measure(setting: Setting) -> Figures:
    """Points the worst recipe loses to INT8, and its largest share of the fp32 file's bytes."""
    drops, sizes = [], []
    for name in _RECIPES:
        made = follow(load(RECIPES / f"{name}.yaml", {}, setting), setting)
        assert made.manifest.recipe is not None, "a recipe made it"
        before, after = (measured(made, step["kind"]) for step in made.manifest.recipe["steps"][-2:])
        drops.append(100 * (before.quality.value - after.quality.value))
        sizes.append(after.size_bytes / before.size_bytes)
    return {"int8_drop": max(drops), "int8_size": max(sizes)}
