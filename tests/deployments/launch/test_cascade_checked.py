"""What of a cascade is wrong is told before Ray starts."""

import pytest

from deployments.errors import SettingsError
from deployments.launch import preflight
from optimization.artifact import store
from optimization.artifact.store import ArtifactError
from tests.conftest import free_port, publish_tiny
from tests.deployments.stages.measured import FOUND


@pytest.fixture
def root(tmp_path):
    """`tiny` without a cascade (1) and with one (2), whose teacher is version 1 of `large`."""
    before = publish_tiny(tmp_path)
    for _ in range(4):
        publish_tiny(tmp_path, "large")
    known = {name: getattr(before.manifest, name) for name in ("inputs", "outputs", "labels", "name")}
    found = FOUND.model_copy(update={"teacher": "large/1"})
    store.publish(tmp_path, {store.MODEL: before.model_path}, **known, cascade=found)
    return tmp_path


def check(root, *models, **args):
    """Check a file of `tiny`, with these `args`, and of `models`, each its name and its args."""
    listed = [("tiny", {"cascade": {"teacher": "large"}} | args), *models]
    applications = [
        {
            "name": name,
            "route_prefix": f"/v2/models/{name}",
            "import_path": "deployments.app:model",
            "args": {"artifact": name, "artifacts": str(root), **more},
        }
        for name, more in listed
    ]
    preflight.check({"http_options": {"host": "127.0.0.1", "port": free_port()}, "applications": applications})


def test_a_cascade_and_the_teacher_it_was_measured_with_pass(root):
    check(root, ("large", {"version": 1}))
    check(root, ("large", {"keep_versions": 4}))
    check(root, cascade={"teacher": "large", "in_process": True})


def test_a_student_that_was_not_measured_is_refused(root):
    with pytest.raises(ArtifactError, match=r"must say when it is sure .* python -m optimization cascade"):
        check(root, ("large", {"version": 1}), version=1)


def test_another_teacher_than_it_was_measured_with_is_refused(root):
    with pytest.raises(ArtifactError, match=r"was measured with, large/1: 'other'"):
        check(root, cascade={"teacher": "other"})


def test_a_teacher_that_nobody_serves_is_named(root):
    with pytest.raises(SettingsError, match=r"application 'tiny': args\.cascade\.teacher must be a model of this file"):
        check(root)


def test_a_teacher_that_is_served_by_newer_versions_alone_is_named(root):
    with pytest.raises(SettingsError, match=r"must serve version '1', .* got 3, 4: name it"):
        check(root, ("large", {}))


def test_a_teacher_in_the_process_must_be_published_in_that_version(root):
    for file in sorted((root / "large" / "1").iterdir()):
        file.unlink()
    with pytest.raises(ArtifactError, match="has no version '1'"):
        check(root, cascade={"teacher": "large", "in_process": True})
