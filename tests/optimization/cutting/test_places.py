"""Where a graph can be cut, and what is sent there."""

from optimization.cutting.places import Flow, Node, places


def node(inputs, outputs, seconds=1.0):
    return Node(inputs=tuple(inputs.split()), outputs=tuple(outputs.split()), seconds=seconds)


def found(*nodes, inputs, weights=None):
    flow = Flow(nodes=nodes, inputs=frozenset(inputs.split()), weights=weights or {})
    return [(place.after, " ".join(sorted(place.sent)), " ".join(sorted(place.inputs))) for place in places(flow)]


def test_what_is_made_before_and_needed_behind_is_sent():
    chain = [node("x", "a"), node("a", "b"), node("b a", "c"), node("c", "y")]
    assert found(*chain, inputs="x") == [(0, "a", ""), (1, "a b", ""), (2, "c", "")]


def test_what_is_cheap_is_made_again_of_the_models_inputs():
    mask = node("mask", "hidden", seconds=0.001)
    layers = [node("x", "a"), node("a hidden", "b"), node("b hidden", "y")]
    assert found(mask, *layers, inputs="x mask") == [(1, "a", "mask"), (2, "b", "mask")]


def test_a_cheap_tensor_of_a_costly_one_is_sent():
    """To make it again, all that comes before would be, too."""
    nodes = [node("x", "a"), node("a", "size", seconds=0.001), node("a", "b"), node("b size", "y")]
    assert found(*nodes, inputs="x") == [(0, "a", ""), (1, "a size", ""), (2, "b size", "")]


def test_a_table_that_is_quickly_looked_up_is_not_in_two_parts():
    nodes = [node("table ids", "rows", seconds=0.001), node("rows w", "a"), node("a rows w", "y")]
    assert found(*nodes, inputs="ids", weights={"table": 90, "w": 10}) == [(0, "rows", ""), (1, "a rows", "")]


def test_constants_are_never_sent():
    nodes = [node("w", "half"), node("x half", "a"), node("a half", "y")]
    assert found(*nodes, inputs="x", weights={"w": 100}) == [(1, "a", "")]


def test_nodes_that_change_nothing_of_what_is_sent_make_no_further_place():
    nodes = [node("x", "a"), node("mask", "m", seconds=0.001), node("a m", "b"), node("b", "y")]
    assert found(*nodes, inputs="x mask") == [(0, "a", "mask"), (2, "b", "")]
