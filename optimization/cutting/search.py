"""The search for the best cut of one model.

    timed -> places -> best cut -> parts loaded  -> equal to the whole? -> parts timed -> the best of some
                          ^             |  no: not there      |
                          +-------------+---------------------+  times corrected by what the parts took

Nodes timed one by one are a first guess: what the parts take decides. A cut is given up where the parts' answers are
not the whole's to the last bit, as where ONNX Runtime would make one operation of nodes on both sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import onnx
from onnxruntime import InferenceSession

from optimization.artifact.store import Artifact
from optimization.cutting import cuts, example, graphs, places, runtime, tensors, times
from optimization.cutting.cuts import Segment
from optimization.cutting.graphs import Stage
from optimization.cutting.places import Place
from optimization.errors import CutError
from optimization.readers.examples import Inputs

_MAX_CORRECTIONS = 3
_MAX_UNEQUAL = 20
"""Cuts that are given up before the search is."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked for."""

    stages: int
    batch_size: int = 8
    """Samples of the calls that are timed."""
    length: int = 64
    """Size of their other free dimensions, such as tokens; at most so much where there are several."""
    max_weights: int | None = None
    """Bytes of weights that a stage may have."""

    def __post_init__(self) -> None:
        for option, value, least in (
            ("--stages", self.stages, 2),
            ("--batch-size", self.batch_size, 1),
            ("--length", self.length, 1),
        ):
            if value < least:
                raise CutError(f"{option} must be at least {least}, got {value}")


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Where a model is cut, and what its parts take."""

    places: Sequence[Place]
    seconds: tuple[float, ...]
    """Of a call of each part, in its turn with the others."""


class Search:
    """One model, and what is known of where to cut it."""

    def __init__(self, artifact: Artifact, model: onnx.ModelProto, wanted: Wanted) -> None:
        """Time the model and find the places.

        Raises:
            CutError: it cannot be run with the sizes that are wanted, or gives one input two answers.
        """
        self._model, self._home, self._wanted = model, artifact.path, wanted
        self._inputs, self._outputs = artifact.manifest.inputs, artifact.manifest.outputs
        sizes = example.free_sizes(self._inputs, wanted.batch_size, wanted.length)
        self._feeds = example.inputs(model, self._inputs, sizes)
        self._answers = self._asked(runtime.load(artifact))
        self._flow = times.flow(model, artifact.path, self._feeds)
        candidates = list(places.places(self._flow))
        crossing = frozenset[str]().union(*(place.sent for place in candidates))
        found = tensors.sendable(model, artifact.path, self._inputs, crossing, sizes)
        self._places = [place for place in candidates if place.sent <= found.keys()]
        self.sizes = {name: tensor.size_bytes for name, tensor in found.items()}
        """Bytes of tensors in the calls that are timed."""
        self.sizes |= {name: array.nbytes for name, array in self._feeds.items()}
        self.known = {name: tensor.spec for name, tensor in found.items()}
        """What each tensor is that a part may take or give."""
        self.known |= {spec.name: spec for spec in (*self._inputs, *self._outputs)}

    def best(self) -> Cut:
        """The best cut.

        Raises:
            CutError: there is none as wanted, or none whose parts answer as the whole does.
        """
        cuts: list[Cut] = []
        for _ in range(_MAX_CORRECTIONS):
            cut = self._next(cuts)
            if cut in cuts:
                break
            cuts.append(cut)
            self._correct(cut)
        return min(cuts, key=lambda cut: max(cut.seconds))

    def graphs_of(self, chosen: Sequence[Place]) -> list[onnx.ModelProto]:
        """The part of each stage: it gives what is sent of what it makes, and the model's outputs among it."""
        made = {name: at for at, node in enumerate(self._flow.nodes) for name in node.outputs}
        last = len(self._flow.nodes) - 1
        crossing = frozenset[str]().union(*(place.sent for place in chosen))
        waiting = crossing.union(spec.name for spec in self._outputs)
        sent: frozenset[str] = frozenset()
        found: list[onnx.ModelProto] = []
        for end in (*(place.after for place in chosen), last):
            gives = frozenset(name for name in waiting if made.get(name, last) <= end)
            stage = Stage(sent=sent, gives=tuple(sorted(gives)))
            found.append(graphs.extracted(self._model, stage, self.known))
            sent, waiting = sent | (gives & crossing), waiting - gives
        return found

    def check(self, published: Artifact) -> None:
        """Refuse parts that do not answer, from their files, as the whole model does.

        Raises:
            CutError: an answer differs.
        """
        if not self._answer_equally(runtime.load(published)):
            raise CutError("the parts answer otherwise from their files than from memory: is the disk sound?")

    def _next(self, cuts: Sequence[Cut]) -> Cut:
        """The best cut, by what is known of the times, whose parts answer as the whole does; timed, unless it is one of
        `cuts`."""
        for _ in range(_MAX_UNEQUAL):
            chosen = self._balanced()
            known = next((cut for cut in cuts if cut.places == chosen), None)
            if known is not None:
                return known
            parts = self._loaded(chosen)
            if self._answer_equally(parts):
                return Cut(places=chosen, seconds=times.in_turns(parts, self._feeds))
            del parts  # they may be large
            wrong = [place for place in chosen if len(chosen) == 1 or not self._answer_equally(self._loaded([place]))]
            self._places = [place for place in self._places if place not in (wrong or chosen)]
        raise CutError(
            f"parts must answer as the whole does, to the last bit: none of the best {_MAX_UNEQUAL} cuts has such parts"
        )

    def _balanced(self) -> Sequence[Place]:
        nodes, weights = self._flow.nodes, self._flow.weights
        ends = [place.after + 1 for place in self._places]
        segments = [
            Segment(
                seconds=sum(node.seconds for node in nodes[start:end]),
                weights={name: weights[name] for node in nodes[start:end] for name in node.inputs if name in weights},
            )
            for start, end in zip([0, *ends], [*ends, len(nodes)], strict=True)
        ]
        moved = [sum(self.sizes[name] for name in place.sent | place.inputs) for place in self._places]
        chosen = cuts.best(segments, moved, self._wanted.stages, self._wanted.max_weights)
        return [self._places[number] for number in chosen]

    def _correct(self, cut: Cut) -> None:
        """Scale the nodes' times so that together they are what each part took."""
        nodes = list(self._flow.nodes)
        bounds = [0, *(place.after + 1 for place in cut.places), len(nodes)]
        for (start, end), seconds in zip(pairwise(bounds), cut.seconds, strict=True):
            factor = seconds / (sum(node.seconds for node in nodes[start:end]) or seconds)
            nodes[start:end] = [replace(node, seconds=node.seconds * factor) for node in nodes[start:end]]
        self._flow = replace(self._flow, nodes=nodes)

    def _loaded(self, chosen: Sequence[Place]) -> list[InferenceSession]:
        return [runtime.session(part, runtime.options(self._home)) for part in self.graphs_of(chosen)]

    def _answer_equally(self, parts: Sequence[InferenceSession]) -> bool:
        return all(runtime.same(answer, runtime.run_in_turn(parts, feeds)) for feeds, answer in self._answers)

    def _asked(self, whole: Sequence[InferenceSession]) -> list[tuple[Inputs, Inputs]]:
        """Inputs of several sizes, and what the whole model answers."""
        size, length = self._wanted.batch_size, self._wanted.length
        found: list[tuple[Inputs, Inputs]] = []
        for seed, (batch, each) in enumerate([(size, length), (1, length), (3, max(1, length // 2))]):
            sizes = example.free_sizes(self._inputs, batch, each)
            feeds = example.inputs(self._model, self._inputs, sizes, seed)
            answer, again = (self._answer(whole, feeds) for _ in range(2))
            if not runtime.same(answer, again):
                raise CutError("the model must answer the same twice to be cut: it draws random numbers")
            found.append((feeds, answer))
        return found

    def _answer(self, whole: Sequence[InferenceSession], feeds: Inputs) -> Inputs:
        try:
            made = runtime.run_in_turn(whole, feeds)
        except Exception as error:  # ONNX Runtime's errors share no base but this
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
            raise CutError(f"the model must take {shapes}; --length gives other sizes: {error}") from error
        return {spec.name: made[spec.name] for spec in self._outputs}
