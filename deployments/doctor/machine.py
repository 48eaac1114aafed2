"""Whether a machine is fit to serve, by the facts of it; and whether several fit together."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from deployments.doctor.facts import PACKAGES, Facts
from deployments.doctor.finding import Finding, Verdict

PYTHON = (3, 11)
OPEN_FILES = 8192
"""Fewer are soon used up: each connection to a replica is one in the ingress and one in the replica."""
LEAST_FREE, LITTLE_FREE = 2**30, 5 * 2**30
FULL_SHARE = 0.05
"""Of a disk: with less, Ray begins no more work on the node."""
LEAST_MEMORY, LEAST_SHM = 2 * 2**30, 2**30
SKEW_S = 1.0
"""Beyond it, spans of two hosts stand in the wrong order; from ten seconds on the collector takes its own clock."""
_GIB = 2**30
_PIN = re.compile(r"^([\w.-]+)==([\w.+!-]+)", re.MULTILINE)


def judged(facts: Facts, constraints: Mapping[str, str]) -> Iterator[Finding]:
    """What is to be said of a machine that Trimtab is installed on; `constraints` are versions by package."""
    yield from of_host(facts)
    yield from _packages(facts, constraints)
    yield _gpu(facts)


def of_host(facts: Facts) -> Iterator[Finding]:
    """What is to be said of a machine, whatever is installed on it."""

    def finding(what: str, found: str, verdict: Verdict = Verdict.FINE, mend: str = "") -> Finding:
        return Finding(where=facts.host, what=what, found=found, verdict=verdict, mend=mend)

    number = tuple(int(part) for part in facts.python.split(".")[:2])
    if number < PYTHON:
        yield finding("Python", facts.python, Verdict.FAULT, "install Python 3.11 or newer")
    else:
        yield finding("Python", facts.python)
    match facts.is_clock_steered:
        case None:
            pass  # a clock that is wrong is seen beside the others
        case True:
            yield finding("clock", "a time server steers it")
        case False:
            yield finding(
                "clock", "no time server steers it", Verdict.WARNING, "run chrony or systemd-timesyncd on this host"
            )
    for what, free in facts.free_bytes.items():
        said = f"{free / _GIB:.1f} GiB free ({100 * facts.free_share[what]:.0f} %)"
        if free < LEAST_FREE or facts.free_share[what] < FULL_SHARE:
            yield finding(f"disk for {what}", said, Verdict.FAULT, "make room: Ray takes no more at 95 %")
        elif free < LITTLE_FREE:
            yield finding(f"disk for {what}", said, Verdict.WARNING, "make room soon")
        else:
            yield finding(f"disk for {what}", said)
    yield from _limits(facts)


def _packages(facts: Facts, constraints: Mapping[str, str]) -> Iterator[Finding]:
    missing = [name for name in PACKAGES if name not in facts.packages]
    other = {
        name: found for name, found in facts.packages.items() if name in constraints and constraints[name] != found
    }
    if missing:
        yield Finding(
            where=facts.host,
            what="packages",
            found=f"{', '.join(missing)} not installed",
            verdict=Verdict.FAULT,
            mend="pip install -c constraints.txt trimtab",
        )
    for name, found in other.items():
        yield Finding(
            where=facts.host,
            what=name,
            found=f"{found}, tested with {constraints[name]}",
            verdict=Verdict.FAULT if name == "ray" else Verdict.WARNING,
            mend=f"pip install {name}=={constraints[name]}",
        )
    if not missing and not other:
        versions = f"Trimtab {facts.packages['trimtab']}, Ray {facts.packages['ray']}"
        yield Finding(where=facts.host, what="packages", found=f"{versions}, as tested" if constraints else versions)


def _limits(facts: Facts) -> Iterator[Finding]:
    if facts.open_files is not None and facts.most_open_files is not None:
        said = f"{facts.open_files} of a process, at most {facts.most_open_files}"
        if facts.open_files >= OPEN_FILES:
            yield Finding(where=facts.host, what="open files", found=said)
        else:
            raised = facts.most_open_files >= OPEN_FILES
            mend = "ulimit -n $(ulimit -H -n) before `serve run` or `ray start`"
            yield Finding(
                where=facts.host,
                what="open files",
                found=said,
                verdict=Verdict.WARNING,
                mend=mend if raised else f"raise nofile to {OPEN_FILES} or more in /etc/security/limits.conf",
            )
    if facts.free_memory_bytes is not None and facts.memory_bytes is not None:
        said = f"{facts.free_memory_bytes / _GIB:.1f} of {facts.memory_bytes / _GIB:.1f} GiB free"
        if facts.free_memory_bytes < LEAST_MEMORY:
            mend = "end what takes it, or give the host more: Ray and a replica take about 2 GiB"
            yield Finding(where=facts.host, what="memory", found=said, verdict=Verdict.WARNING, mend=mend)
        else:
            yield Finding(where=facts.host, what="memory", found=said)
    if facts.shm_bytes is not None:
        said = f"{facts.shm_bytes / _GIB:.1f} GiB"
        if facts.shm_bytes < LEAST_SHM:
            mend = "mount a larger one (docker run --shm-size=4g): Ray's objects go to the disk, which is slow"
            yield Finding(where=facts.host, what="/dev/shm", found=said, verdict=Verdict.WARNING, mend=mend)
        else:
            yield Finding(where=facts.host, what="/dev/shm", found=said)


def _gpu(facts: Facts) -> Finding:
    can_use = "CUDAExecutionProvider" in facts.providers
    if facts.gpus and not can_use:
        return Finding(
            where=facts.host,
            what="GPU",
            found=f"{len(facts.gpus)}, which ONNX Runtime cannot use",
            verdict=Verdict.WARNING,
            mend="pip install onnxruntime-gpu in place of onnxruntime",
        )
    return Finding(where=facts.host, what="GPU", found=f"{len(facts.gpus)}" if facts.gpus else "none: CPUs serve")


def together(machines: Sequence[Facts], here_s: Mapping[str, float]) -> Iterator[Finding]:
    """What is to be said of several machines together; `here_s` is how far the clock of each is ahead of this one's."""
    for name in ("python", *PACKAGES):
        versions = {
            each.host: each.python if name == "python" else each.packages.get(name, "none") for each in machines
        }
        if len(set(versions.values())) > 1:
            said = ", ".join(f"{host} {version}" for host, version in sorted(versions.items()))
            mend = "install the same on all hosts: Ray's nodes exchange objects, which need one version"
            yield Finding(where="all hosts", what=name, found=said, verdict=Verdict.FAULT, mend=mend)
    for host, ahead_s in here_s.items():
        if abs(ahead_s) > SKEW_S:
            yield Finding(
                where=host,
                what="clock",
                found=f"{abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this host's",
                verdict=Verdict.FAULT if abs(ahead_s) > 10 * SKEW_S else Verdict.WARNING,
                mend="run chrony or systemd-timesyncd there: traces and alerts go by time",
            )
    if len(machines) > 1 and len({each.python for each in machines}) == 1:
        yield Finding(where="all hosts", what="together", found=f"{len(machines)} hosts, Python {machines[0].python}")


def pinned(path: Path) -> dict[str, str]:
    """Versions by package that a file of constraints names; none where there is no such file."""
    try:
        return dict(_PIN.findall(path.read_text(encoding="utf-8")))
    except OSError:
        return {}
