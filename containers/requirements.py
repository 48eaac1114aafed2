"""Prints what an image installs: `requirements.py pyproject.toml "torch ..." onnxruntime-gpu==1.32.0`.

The dependencies of pyproject.toml without those named, and with the ONNX Runtime named in place of its own.
"""

import re
import sys
import tomllib
from pathlib import Path


def requirements(project: Path, without: str, onnxruntime: str) -> list[str]:
    """The lines."""
    listed = tomllib.loads(project.read_text())["project"]["dependencies"]
    names = {line: re.split(r"[\[<>=~!; ]", line, maxsplit=1)[0].lower() for line in listed}
    left_out = set(without.split())
    if unknown := left_out - set(names.values()):
        sys.exit(f"WITHOUT must name dependencies of {project}, got {', '.join(sorted(unknown))}")
    kept = [line for line in listed if names[line] not in {*left_out, "onnxruntime"}]
    return [*kept, onnxruntime]


if __name__ == "__main__":
    print("\n".join(requirements(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
