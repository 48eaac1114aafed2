"""Places at which a graph can be cut, in the order its nodes run: what must be sent there, and what need not be.

    node 0 .. node i | node i+1 .. node n        crossing: made before, needed behind

What crosses is sent, unless it is cheap to make again from the model's own inputs: the nodes that make it take next to
no time, such as those of an attention mask, and are repeated behind the cut.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

CHEAP = 0.05
"""Share of the model's time, and of its weights, up to which a tensor is made again."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """An operation as it is run."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A graph's operations, in the order they run."""

    nodes: Sequence[Node]
    inputs: frozenset[str]
    """The model's own."""
    weights: Mapping[str, int]
    """Bytes of each, by name."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Between two nodes."""

    after: int
    """Number of the node before it."""
    sent: frozenset[str]
    """Tensors of the nodes before that nodes behind it need."""
    inputs: frozenset[str]
    """The model's own inputs that nodes behind it need."""


def places(flow: Flow) -> Iterator[Place]:
    """All places, each with other tensors to send than the one before it."""
    last_use = {name: at for at, node in enumerate(flow.nodes) for name in node.inputs}
    sources = _cheap(flow)
    alive: set[str] = set()
    before: frozenset[str] = frozenset()
    for at, node in enumerate(flow.nodes[:-1]):
        alive |= {name for name in node.outputs if name in last_use}
        alive = {name for name in alive if last_use[name] > at}
        sent = frozenset(name for name in alive if name not in sources)
        if sent and sent != before:
            again = frozenset[str]().union(*(sources[name] for name in alive - sent))
            needed = frozenset(name for name in flow.inputs if last_use.get(name, -1) > at)
            yield Place(after=at, sent=sent, inputs=again | needed)
            before = sent


def _cheap(flow: Flow) -> dict[str, frozenset[str]]:
    """The tensors that are cheap to make again, and which of the model's inputs they are made of."""
    most_s = CHEAP * sum(node.seconds for node in flow.nodes)
    most_bytes = CHEAP * sum(flow.weights.values())
    makers: dict[str, frozenset[int]] = {}
    found: dict[str, frozenset[str]] = {}
    for at, node in enumerate(flow.nodes):
        made = [name for name in node.inputs if name and name not in flow.weights and name not in flow.inputs]
        if any(name not in makers for name in made):
            continue
        cone = frozenset({at}).union(*(makers[name] for name in made))
        weights = {name for number in cone for name in flow.nodes[number].inputs if name in flow.weights}
        sources = frozenset(name for number in cone for name in flow.nodes[number].inputs if name in flow.inputs)
        is_cheap = (
            sum(flow.nodes[number].seconds for number in cone) <= most_s
            and sum(flow.weights[name] for name in weights) <= most_bytes
        )
        if is_cheap or not sources:
            makers |= dict.fromkeys(node.outputs, cone)
            found |= dict.fromkeys(node.outputs, sources)
    return found
