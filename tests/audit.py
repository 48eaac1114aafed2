"""Known weaknesses of what constraints.txt pins: `python -m tests.audit`, which CI runs, and prints.

It asks PyPI by pip-audit. Where PyPI does not answer, or does not know a package, it says so and does not fail: a build
without a network is no worse than it was. A weakness that is known fails it, unless `ACCEPTED` says why it may stay; CI
goes on then, since what became known today is no fault of the commit.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONSTRAINTS = Path("constraints.txt")
LONGEST_S = 60
ACCEPTED: dict[str, str] = {}
"""Ids of weaknesses that may stay, each with the reason."""


def judged(report: dict[str, Any]) -> tuple[list[str], int, int]:
    """What must be mended, and how many packages could and could not be looked up, of pip-audit's JSON."""
    found, asked, unknown = [], 0, 0
    for each in report["dependencies"]:
        if "skip_reason" in each:
            unknown += 1
            continue
        asked += 1
        for weakness in each["vulns"]:
            names = {weakness["id"], *weakness.get("aliases", [])}
            if not names & ACCEPTED.keys():
                mended = ", ".join(weakness.get("fix_versions", [])) or "no version yet"
                found.append(f"{each['name']} {each['version']}: {weakness['id']}, mended in {mended}")
    return found, asked, unknown


def main() -> int:
    """1 where a weakness is known."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS), "--disable-pip", "--no-deps"]
    options = ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    try:
        ran = subprocess.run([*command, *options], capture_output=True, text=True, timeout=LONGEST_S, check=False)
        found, asked, unknown = judged(json.loads(ran.stdout))
    except (subprocess.TimeoutExpired, ValueError):
        print(f"audit: PyPI does not answer, so nothing of {CONSTRAINTS} was looked up")
        return 0
    for line in found:
        print(f"audit: {line}")
    print(f"audit: {asked} packages looked up, {unknown} that PyPI does not know here, {len(found)} to be mended")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
