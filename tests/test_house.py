"""The house itself: every setting documented, the README's commands and tree true."""

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from pydantic import BaseModel

from optimization.recipe.recipe import Named
from optimization.recipe.settings import Settings
from optimization.recipe.teaching import Teaching
from telemetry.notify.http import Address
from tests import runbook_page
from tests.settings_page import PAGE, SECTIONS, page

README = Path("README.md").read_text() if Path("README.md").exists() else ""
CLASSES = [each for _, classes in SECTIONS for each in classes]


@pytest.mark.parametrize("settings", CLASSES, ids=lambda each: each.__name__)
def test_every_setting_says_what_it_means(settings):
    undocumented = [name for name, field in settings.model_fields.items() if not field.description]
    assert undocumented == []


def test_every_settings_class_is_on_the_page():
    def subclasses(base):
        return {sub for direct in base.__subclasses__() for sub in {direct} | subclasses(direct)}

    written = (
        "deployments.monitoring.feedback",
        "deployments.rollout.split",
        "deployments.rollout.state",
        "deployments.retraining.training",
        "optimization.artifact.cascade",
        "optimization.artifact.manifest",
        "optimization.artifact.findings",
        "optimization.artifact.reference.distribution",
        "optimization.artifact.reference.reference",
        "optimization.pruning.structure",
    )  # not set by anyone
    ours = {
        each
        for each in subclasses(BaseModel)
        if each.__module__.split(".")[0] in ("deployments", "optimization", "telemetry")
        and not each.__name__.startswith("_")
        and each.__module__ not in written
        and each not in (Settings, Named, Teaching, Address)  # what others inherit from
    }
    assert {each.__name__ for each in ours} == {each.__name__ for each in CLASSES}


def test_the_runbook_that_the_page_links_to_is_the_docs():
    assert runbook_page.PAGE.read_text() == runbook_page.page(), "run: python -m tests.runbook_page"


def test_the_settings_page_is_current():
    assert PAGE.read_text() == page(), "run: python -m tests.settings_page"


def test_every_make_target_in_the_readme_exists():
    targets = set(re.findall(r"^([a-z-]+):", Path("Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)", README))
    assert named
    assert named <= targets


def test_make_help_lists_every_public_target():
    printed = subprocess.run(["make", "help"], capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", Path("Makefile").read_text(), re.MULTILINE)[1].split()
    assert [target for target in phony if f"  {target} " not in printed] == []


def test_every_path_in_the_readme_tree_exists():
    tree = re.search(r"```\ntrimtab/\n(.*?)```", README, re.DOTALL)[1]
    paths, folder = [], Path()
    for indent, name in re.findall(r"^([│ ]*)[├└]── (\S+)", tree, re.MULTILINE):
        paths.append(folder / name if indent else Path(name))
        folder = folder if indent else Path(name)
    assert len(paths) > 20
    assert [path for path in paths if not path.exists()] == []


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_path_and_module_that_is_named_exists(page):
    """From the root; `<name>` stands for any. What lies in an artifact, and routes, are no paths of the checkout."""
    quoted = re.findall(r"`([^`\n]+)`", Path(page).read_text())
    paths = [word for word in quoted if re.fullmatch(r"[\w.<>-]+(/[\w.<>-]+)*/?", word)]
    files = [word for word in paths if "/" in word or word.endswith((".py", ".md", ".yaml"))]
    modules = [word for word in quoted if re.fullmatch(r"(optimization|deployments|telemetry)(\.\w+)*", word)]
    commands = [module for word in quoted for module in re.findall(r"python -m ((?:tests|benchmarks)[\w.]*)", word)]
    assert len(files) >= 10
    assert [word for word in files if not list(Path().glob(re.sub(r"<\w+>", "*", word)))] == []
    as_paths = {word: Path(*word.split(".")) for word in modules + commands}
    assert [word for word, path in as_paths.items() if not (path.is_dir() or path.with_suffix(".py").exists())] == []


def test_every_python_module_in_the_readme_can_be_called():
    for module in set(re.findall(r"python -m ([a-z_.]+)", README)):
        path = Path(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_no_property_fails_because_the_processor_is_slow():
    """Hypothesis' own default is 200 ms an example."""
    assert settings.default.deadline is None
    assert HealthCheck.too_slow in settings.default.suppress_health_check


def test_nothing_is_installed_that_slows_the_start_of_every_ray_process():
    """`import ray` imports jsonschema, and that whatever check of a format is there: this one compiles a grammar for a
    second and more."""
    assert find_spec("rfc3987_syntax") is None, "take out what needs jsonschema[format-nongpl]"
