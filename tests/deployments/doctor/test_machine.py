"""What is wrong with a machine, or with several together, is said with what mends it."""

import dataclasses

import pytest

from deployments.doctor.facts import PACKAGES, facts
from deployments.doctor.finding import Finding, Verdict, worst
from deployments.doctor.machine import judged, pinned, together

SOUND = dataclasses.replace(
    facts(),
    host="node-1",
    python="3.11.7",
    packages=dict.fromkeys(PACKAGES, "1.0"),
    is_clock_steered=True,
    free_bytes={"artifacts": 100 * 2**30},
    free_share={"artifacts": 0.5},
    open_files=65536,
    most_open_files=65536,
    shm_bytes=8 * 2**30,
    memory_bytes=16 * 2**30,
    free_memory_bytes=8 * 2**30,
    gpus=(),
    providers=("CPUExecutionProvider",),
)
TESTED = dict.fromkeys(PACKAGES, "1.0")


def said(constraints=TESTED, **changed):
    """By what was looked at: verdict and what to do, without what is fine."""
    found = judged(dataclasses.replace(SOUND, **changed), constraints)
    return {each.what: (each.verdict, each.mend) for each in found if each.verdict is not Verdict.FINE}


def test_a_sound_machine_is_fine():
    assert said() == {}
    assert worst(judged(SOUND, TESTED)) is Verdict.FINE


@pytest.mark.parametrize(
    ("changed", "what", "verdict", "mend"),
    [
        ({"python": "3.10.4"}, "Python", Verdict.FAULT, "Python 3.11"),
        ({"is_clock_steered": False}, "clock", Verdict.WARNING, "chrony"),
        ({"free_bytes": {"artifacts": 2**20}}, "disk for artifacts", Verdict.FAULT, "make room"),
        ({"free_share": {"artifacts": 0.04}}, "disk for artifacts", Verdict.FAULT, "make room"),
        ({"free_bytes": {"artifacts": 2 * 2**30}}, "disk for artifacts", Verdict.WARNING, "make room"),
        ({"open_files": 1024}, "open files", Verdict.WARNING, "ulimit -n"),
        ({"open_files": 1024, "most_open_files": 4096}, "open files", Verdict.WARNING, "limits.conf"),
        ({"shm_bytes": 64 * 2**20}, "/dev/shm", Verdict.WARNING, "--shm-size"),
        ({"free_memory_bytes": 2**30}, "memory", Verdict.WARNING, "2 GiB"),
        ({"gpus": ("0000:01:00.0",)}, "GPU", Verdict.WARNING, "onnxruntime-gpu"),
        ({"packages": TESTED | {"ray": "2.59.0"}}, "ray", Verdict.FAULT, "pip install ray==1.0"),
        ({"packages": TESTED | {"numpy": "2.0"}}, "numpy", Verdict.WARNING, "pip install numpy==1.0"),
        ({"packages": {}}, "packages", Verdict.FAULT, "pip install"),
    ],
)
def test_what_is_wrong_is_said_with_what_mends_it(changed, what, verdict, mend):
    ((found, (got, to_do)),) = said(**changed).items()
    assert (found, got) == (what, verdict)
    assert mend in to_do


def test_hosts_of_different_versions_are_named_each_with_its_own():
    other = dataclasses.replace(SOUND, host="node-2", packages=TESTED | {"ray": "2.59.0"})
    (found,) = [each for each in together([SOUND, other], {}) if each.what == "ray"]
    assert found.verdict is Verdict.FAULT
    assert found.found == "node-1 1.0, node-2 2.59.0"


@pytest.mark.parametrize(("ahead_s", "verdict"), [(0.5, None), (3.0, Verdict.WARNING), (-60.0, Verdict.FAULT)])
def test_a_clock_that_is_wrong_is_said_with_how_much(ahead_s, verdict):
    found = [each for each in together([SOUND], {"node-2": ahead_s}) if each.what == "clock"]
    assert [each.verdict for each in found] == ([verdict] if verdict else [])
    assert all(f"{abs(ahead_s):.1f} s {'ahead' if ahead_s > 0 else 'behind'}" in each.found for each in found)


def test_this_machine_can_be_told():
    here = facts()
    assert here.packages["ray"] == pinned(__import__("pathlib").Path("constraints.txt"))["ray"]
    assert here.memory_bytes >= here.free_memory_bytes > 0
    assert all(0 <= share <= 1 for share in here.free_share.values())


def test_a_fault_weighs_more_than_a_warning():
    def finding(verdict):
        return Finding(where="", what="", found="", verdict=verdict)

    assert worst(map(finding, (Verdict.WARNING, Verdict.FAULT, Verdict.FINE))) is Verdict.FAULT
    assert worst(map(finding, (Verdict.WARNING, Verdict.FINE))) is Verdict.WARNING
