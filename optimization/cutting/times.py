"""How long each operation of a model takes, and each part of it.

    model -> ONNX Runtime optimises it -> nodes named by number -> profiled, run after run -> the median of each node
    parts -> run in turn, round after round -> the median of each part

What is timed are the operations as they are run, several of the file's made one. Medians over many runs, since other
processes take their share in bursts.
"""

import json
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import onnx
from onnxruntime import GraphOptimizationLevel, InferenceSession

from optimization.cutting import runtime
from optimization.cutting.places import Flow, Node
from optimization.cutting.weights import size_bytes
from optimization.readers.examples import Inputs

MAX_RUNS = 40
ENOUGH_S = 6.0
"""After this no further run begins, except that there are a few in any case."""
MIN_RUNS = 3


def flow(model: onnx.ModelProto, folder: Path, feeds: Inputs) -> Flow:
    """The model's operations as ONNX Runtime runs them, each with its seconds for those inputs.

    Raises:
        CutError: the model cannot be run.
    """
    with TemporaryDirectory(prefix="trimtab-") as scratch:
        optimized = _optimized(model, folder, Path(scratch))
        for number, node in enumerate(optimized.graph.node):
            node.name = f"node-{number}"
        seconds = _profile(optimized, Path(scratch), feeds)
    weights = {each.name: size_bytes(each) for each in optimized.graph.initializer}
    return Flow(
        nodes=[
            Node(inputs=tuple(node.input), outputs=tuple(node.output), seconds=seconds.get(node.name, 0.0))
            for node in optimized.graph.node
        ],
        inputs=frozenset(value.name for value in optimized.graph.input if value.name not in weights),
        weights=weights,
    )


def in_turns(parts: Sequence[InferenceSession], feeds: Inputs) -> tuple[float, ...]:
    """Seconds of each part, for those inputs of the model."""
    tensors = runtime.run_in_turn(parts, feeds)
    taken: list[list[float]] = [[] for _ in parts]
    for _ in _runs():
        for part, durations in zip(parts, taken, strict=True):
            given = runtime.taken(part, tensors)
            began = time.perf_counter()
            part.run(None, given)
            durations.append(time.perf_counter() - began)
    return tuple(median(durations) for durations in taken)


def _optimized(model: onnx.ModelProto, folder: Path, scratch: Path) -> onnx.ModelProto:
    """What ONNX Runtime makes of the model on any processor; its weights lie in `scratch`."""
    path = scratch / "optimized.onnx"
    options = runtime.options(folder)
    options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    runtime.session(model, options)
    return onnx.load(path, load_external_data=False)


def _profile(model: onnx.ModelProto, folder: Path, feeds: Inputs) -> dict[str, float]:
    """Seconds of each node, by its name."""
    options = runtime.options(folder, optimized=False)
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = runtime.session(model, options)
    for _ in _runs():
        session.run(None, feeds)
    taken: dict[str, list[float]] = {}
    for event in json.loads(Path(session.end_profiling()).read_bytes()):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            taken.setdefault(event["name"].removesuffix("_kernel_time"), []).append(event["dur"] / 1e6)
    return {name: median(durations[1:] or durations) for name, durations in taken.items()}


def _runs() -> Iterator[int]:
    """Numbers of runs, until there were enough."""
    ends = time.perf_counter() + ENOUGH_S
    for number in count():
        if number >= MAX_RUNS or (number >= MIN_RUNS and time.perf_counter() > ends):
            return
        yield number
