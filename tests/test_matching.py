"""Nodes of two graphs are matched by structure: what changed is said, and nothing else."""

from __future__ import annotations

import dataclasses

import pytest
from node_graphs import Graph, compared, graph, report, sequential

from symcompile.storage.schema import Node

# --- layers that come, go and change -------------------------------------------------------------

PLAIN = ("A", "relu", "B", "relu", "C", "relu", "D", "relu", "E")
SHAPES = {letter: (8, number) for number, letter in enumerate("ABCDENS")}

LAYERS = {
    "nothing": (PLAIN, []),
    "in_front": (("N", "relu", *PLAIN), ["+ linear", "+ relu"]),
    "in_the_middle": ((*PLAIN[:4], "N", "relu", *PLAIN[4:]), ["+ linear_2", "+ relu_2"]),
    "at_the_end": ((*PLAIN, "tanh", "N"), ["+ tanh", "+ linear_5"]),
    "without_weights": ((*PLAIN[:4], "dropout", *PLAIN[4:]), ["+ dropout"]),
    "removed": ((*PLAIN[:4], *PLAIN[6:]), ["- linear_2", "- relu_2"]),
    "first_removed": (PLAIN[2:], ["- linear", "- relu"]),
    "duplicated": ((*PLAIN[:4], "B", "relu", *PLAIN[4:]), ["+ linear_2", "+ relu_2"]),
    "activation": ((*PLAIN[:3], "tanh", *PLAIN[4:]), ["relu_1 ~ tanh: tanh instead of relu"]),
    "all_activations": (
        tuple("tanh" if one == "relu" else one for one in PLAIN),
        [f"relu{n} ~ tanh{n}: tanh instead of relu" for n in ("", "_1", "_2", "_3")],
    ),
    "two_places": (
        (*PLAIN[:2], "N", "relu", *PLAIN[2:5], "tanh", *PLAIN[6:]),
        ["+ linear_1", "+ relu_1", "relu_2 ~ tanh: tanh instead of relu"],
    ),
    "one_for_two": (
        (*PLAIN[:3], "tanh", "dropout", *PLAIN[4:]),
        ["- relu_1", "+ tanh", "+ dropout"],
    ),
}


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_change_of_layers_is_that_alone(layers: str, prefix: str) -> None:
    """The names of all weights behind it shift, those of the nodes too."""
    changed, expected = LAYERS[layers]
    assert report(sequential(*PLAIN), sequential(*changed, prefix=prefix)) == expected


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_change_of_layers_and_training_at_once(layers: str, prefix: str) -> None:
    """No weight has its values or its name, but shapes tell the layers apart."""
    changed, expected = LAYERS[layers]
    new = sequential(*changed, prefix=prefix, shapes=SHAPES)
    assert report(sequential(*PLAIN, shapes=SHAPES), new.retrained()) == expected


@pytest.mark.parametrize("layers", LAYERS)
def test_a_change_among_layers_of_one_shape_and_training(layers: str) -> None:
    """Which of the layers alike is the new one can't be told, that it is one can."""
    changed, expected = LAYERS[layers]
    found = report(sequential(*PLAIN), sequential(*changed).retrained())
    assert [line[0] for line in sorted(found)] == [line[0] for line in sorted(expected)]


def test_training_alone_is_no_change_of_nodes() -> None:
    old = sequential(*PLAIN)
    found = compared(old, old.retrained())
    assert found.same
    assert found.renamed == ()


def test_training_of_some_layers_behind_a_new_one() -> None:
    """New names of old layers are those of others, and digests tell for some of them alone."""
    old = sequential(*PLAIN)
    new = sequential("N", "relu", *PLAIN).retrained("6.weight", "8.weight")
    assert report(old, new) == ["+ linear", "+ relu"]


def test_another_width() -> None:
    old = sequential(*PLAIN)
    wide = sequential(*PLAIN, shapes={"B": (16, 8), "C": (8, 16)}).retrained("2.weight", "4.weight")
    assert report(old, wide) == []
    inserted = sequential("N", *PLAIN, shapes={"B": (16, 8), "C": (8, 16)})
    assert report(old, inserted.retrained("3.weight", "5.weight")) == ["+ linear"]


# --- nodes that read something else --------------------------------------------------------------

SKIP = """
x = input(x)
a = conv(x, @a)
b = conv(a, @b)
c = conv(b, @c)
d = add(c, a)
output = output(d)
"""

CHANGES = {
    "other_source": ("d = add(c, a)", "d = add(c, b)", ["d > d: reads b instead of a"]),
    "exchanged_operands": (
        "d = add(c, a)",
        "d = add(a, c)",
        ["d > d: its inputs changed places: a, c instead of c, a"],
    ),
    "skip_removed": ("c, a)\noutput = output(d)", "c, c)\noutput = output(d)",
                     ["d > d: reads c instead of a"]),
    "skip_added": (
        "c = conv(b, @c)",
        "s = add(b, x)\nc = conv(s, @c)",
        ["+ s"],
    ),
    "keyword": (
        "c = conv(b, @c)",
        "c = conv(b, @c, stride=2)",
        ["c ~ c: stride=2 is new"],
    ),
    "weight_left_out": (
        "c = conv(b, @c)",
        "c = conv(b)",
        ["c ~ c: argument 2 (a weight) is gone; no longer reads weight c"],
    ),
    "one_more_input": (
        "d = add(c, a)",
        "d = add(c, a, b)",
        ["d ~ d: argument 3 (a node) is new; reads b too"],
    ),
    "weight_shared": (
        "c = conv(b, @c)",
        "c = conv(b, @b)",
        ["c ~ c: reads weight b instead of c"],
    ),
    "operator_and_source": (
        "d = add(c, a)",
        "d = mul(c, b)",
        ["d ~ d: mul instead of add; reads b instead of a"],
    ),
    "two_outputs": (
        "output = output(d)",
        "output = output(d, c)",
        ["output ~ output: argument 2 (a node) is new; reads c too"],
    ),
    "moved_up": (
        "b = conv(a, @b)\nc = conv(b, @c)\nd = add(c, a)",
        "c = conv(a, @c)\nb = conv(c, @b)\nd = add(b, a)",
        [
            "c > c: reads a instead of b",
            "b > b: reads c instead of a",
            "d > d: reads b instead of c",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_each_change_of_a_node_is_said(change: str, trained: bool) -> None:
    before, after, expected = CHANGES[change]
    new = graph(SKIP.replace(before, after))
    assert report(graph(SKIP), new.retrained() if trained else new) == expected


def test_a_node_is_called_by_both_names_where_they_differ() -> None:
    new = graph(SKIP.replace("add(c, a)", "add(c, b)")).renamed(str.upper)
    assert report(graph(SKIP), new) == ["d > D: reads B instead of a (now A)"]


def test_only_names_differ() -> None:
    found = compared(graph(SKIP), graph(SKIP).renamed(str.upper))
    assert found.same
    assert set(found.renamed) == {("a", "A"), ("b", "B"), ("c", "C"), ("d", "D")}
    assert len(found.pairs) == 6


def test_arguments_of_a_long_text_are_shortened() -> None:
    old, new = (graph(f"x = input(x)\ny = f(x, {'z' * 500}{end})\n") for end in "ab")
    (line,) = report(old, new)
    assert len(line) < 250


@pytest.mark.parametrize("trained", [False, True])
def test_layers_that_changed_places(trained: bool) -> None:
    """In a model whose names are no numbers, so that they go with the layers."""
    old = graph(
        "x = input()\na = linear(x, @a)\nr = relu(a)\nb = linear(r, @b)\noutput = output(b)"
    )
    new = graph(
        "x = input()\nb = linear(x, @b)\nr = relu(b)\na = linear(r, @a)\noutput = output(a)"
    )
    assert report(old, new.retrained() if trained else new) == [
        "b > b: reads x instead of r",
        "r > r: reads b instead of a",
        "a > a: reads r instead of x",
        "output > output: reads a instead of b",
    ]


# --- weights with other names --------------------------------------------------------------------

TIED = """
i = input(i)
e = embedding(i, @emb.weight)
h = linear(e, @mid.weight)
y = linear(h, @{})
output = output(y)
"""


def test_a_weight_that_is_no_longer_shared() -> None:
    old, new = graph(TIED.format("emb.weight")), graph(TIED.format("head.weight"))
    expected = ["y ~ y: reads weight head.weight instead of emb.weight"]
    assert report(old, new) == expected
    assert report(old, new.retrained()) == expected
    same = graph(TIED.format("head.weight"), **{"head.weight": "emb.weight"})
    assert report(old, same) == []


def test_weights_that_changed_places() -> None:
    """Shapes say which layer is which, so it is the names that went over."""
    text = "x = input()\na = linear(x, @{})\nb = linear(a, @{})\noutput = output(b)"
    old, new = graph(text.format("one", "two")), graph(text.format("two", "one")).retrained()
    wide, narrow = (8, 32), (32, 8)
    found = report(old.shaped(one=wide, two=narrow), new.shaped(two=wide, one=narrow))
    assert found == [
        "a ~ a: reads weight two instead of one",
        "b ~ b: reads weight one instead of two",
    ]


def test_another_weight_that_was_there_before() -> None:
    text = "x = input(x)\na = linear(x, @{})\nb = relu(a)\noutput = output(b)\n"
    old, new = graph(text.format("one")), graph(text.format("two"))
    weights = {**old.weights, **new.weights}
    found = report(Graph(old.nodes, weights), Graph(new.nodes, weights))
    assert found == ["a ~ a: reads weight two instead of one"]
    assert report(old, new) == []  # a weight of this name was not there, so it is a new name


# --- ends and blocks -----------------------------------------------------------------------------

BLOCKS = """
x = input(x)
h = linear(x, @stem)
a = region:law(h)
b = region:gain(a)
output = output(b)
"""


def test_inputs_are_matched_by_name_then_by_order() -> None:
    text = "x = input()\ny = input()\nz = sub(x, y)\noutput = output(z)"
    found = compared(graph(text), graph(text.replace("x", "signal")))
    assert found.same
    assert found.renamed == (("x", "signal"),)
    found = compared(graph(text), graph(text.replace("x", "b").replace("y", "a")))
    assert found.same
    assert set(found.renamed) == {("x", "b"), ("y", "a")}
    swapped = graph(text.replace("x, y", "y, x"))
    assert report(graph(text), swapped) == [
        "z > z: its inputs changed places: y, x instead of x, y"
    ]


def test_unused_inputs_and_several_outputs_of_other_names() -> None:
    """As an ONNX file has them: an output is a node of its own."""
    old = graph("a = input()\nb = input()\nc = sin(a)\nd = output(c)\ne = output(a)")
    new = graph("p = input()\nq = input()\nc = sin(p)\nr = output(p)\ns = output(c)")
    found = compared(old, new)
    assert found.same
    assert set(found.renamed) == {("a", "p"), ("b", "q"), ("d", "s"), ("e", "r")}


def test_a_block_is_matched_by_its_path() -> None:
    new = graph(BLOCKS.replace("law", "once").replace("gain", "law").replace("once", "gain"))
    found = compared(graph(BLOCKS), new)
    assert set(found.pairs) >= {("a", "b"), ("b", "a")}
    assert [one.change for one in found.changed] == ["moved"] * 3


@pytest.mark.parametrize("changed", ["law", "stem"])
def test_a_renamed_block_is_no_changed_node(changed: str) -> None:
    """Whatever else is new: the comparison of blocks speaks of it."""
    new = graph(BLOCKS.replace("law", "physics").replace("@stem", f"@{changed}"))
    assert report(graph(BLOCKS), new) == []


def test_a_block_is_no_other_operator() -> None:
    new = graph(BLOCKS.replace("region:law(h)", "linear(h, @law)"))
    assert report(graph(BLOCKS), new) == ["- a", "+ a"]


def test_all_calls_of_a_block_are_matched_in_order() -> None:
    new = graph(BLOCKS.replace("b = region:gain(a)", "c = region:law(a)\nb = region:gain(c)"))
    assert report(graph(BLOCKS), new) == ["+ c"]
    calls = "x = input()\na = region:law(x, 1)\nb = region:law(x, 2)\noutput = output(a, b)"
    other = "x = input()\np = region:law(x, 3)\nq = region:law(x, 4)\noutput = output(p, q)"
    assert set(compared(graph(calls), graph(other)).pairs) >= {("a", "p"), ("b", "q")}


# --- any graph at all ----------------------------------------------------------------------------


def nodes(*rows: Node) -> Graph:
    return Graph(rows)


def parallel(count: int, name: str) -> Graph:
    """Nodes that nothing tells apart, all returned."""
    rows = [Node(f"{name}{k}", "relu", ("x",), (), "%") for k in range(count)]
    returned = tuple(row.name for row in rows)
    return nodes(Node("x", "input"), *rows, Node("output", "output", returned))


def chain(count: int, operator: str = "relu") -> Graph:
    rows = [Node(f"r{k}", operator, (f"r{k - 1}" if k else "x",), (), "%") for k in range(count)]
    return nodes(Node("x", "input"), *rows, Node("output", "output", (rows[-1].name,)))


def test_empty_graphs() -> None:
    nothing = nodes()
    assert compared(nothing, nothing).same
    assert len(compared(nothing, graph(SKIP)).added) == 6
    assert len(compared(graph(SKIP), nothing).removed) == 6


def test_parts_that_nothing_connects() -> None:
    text = "x = input(x)\na = sin(x)\ny = input(y)\nb = cos(y)\nc = rand()\noutput = output(a, b)\n"
    assert report(graph(text), graph(text.replace("rand", "zeros"))) == [
        "c ~ c: zeros instead of rand"
    ]


def test_thousands_of_nodes_alike() -> None:
    found = compared(parallel(2000, "old"), parallel(1995, "new"))
    assert len(found.removed) == 5
    assert [one.new.name for one in found.changed] == ["output"]
    dead = [dataclasses.replace(one.nodes[-1], inputs=()) for one in (parallel(1, "a"),)]
    old, new = ((*parallel(2000, name).nodes[:-1], *dead) for name in "ab")
    assert compared(Graph(old), Graph(new)).same


def test_a_long_chain() -> None:
    found = compared(chain(2000), chain(2007))
    assert (len(found.added), len(found.removed), found.changed) == (7, 0, ())
    assert len(compared(chain(700), chain(700, "tanh")).changed) == 700


def test_a_node_that_is_used_a_thousand_times() -> None:
    reads = [Node(f"n{k}", "mul", ("x", "mask"), (), f"%, %, {k}") for k in range(1000)]
    ends = Node("output", "output", tuple(one.name for one in reads))
    old = nodes(Node("x", "input"), Node("mask", "tril", ("x",)), *reads, ends)
    reads[500] = dataclasses.replace(reads[500], inputs=("mask", "x"))
    new = nodes(Node("x", "input"), Node("mask", "tril", ("x",)), *reads, ends)
    assert report(old, new) == [
        "n500 > n500: its inputs changed places: mask, x instead of x, mask"
    ]
    all_at_once = nodes(Node("x", "input"), Node("y", "cat", ("x",) * 1000, (), "%"))
    assert compared(all_at_once, all_at_once.renamed(str.upper)).same


def test_reads_of_unknown_nodes_are_left_out() -> None:
    old = nodes(Node("a", "sin", ("b", "nowhere")), Node("b", "cos", ("a",)))
    assert compared(old, old.renamed(str.upper)).pairs
