"""Tables leave a graph; what is left answers rows as the whole answers ids."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from deployments.embeddings.initial import initial
from deployments.embeddings.settings import EmbeddingSettings
from deployments.errors import SettingsError
from deployments.settings import ModelSettings
from optimization.__main__ import main
from optimization.artifact import store
from optimization.artifact.manifest import Part, TensorSpec
from optimization.errors import GraphError
from optimization.splitting.split import split

RANDOM = np.random.default_rng(0)
ITEMS = RANDOM.standard_normal((5000, 64)).astype(np.float32)
USERS = RANDOM.standard_normal((300, 8)).astype(np.float32)
BYTES = RANDOM.integers(-128, 128, (5000, 64)).astype(np.int8)
KINDS = {np.dtype(np.int64): TensorProto.INT64, np.dtype(np.int32): TensorProto.INT32}


def publish(folder, nodes, weights, inputs, outputs=("score",), *, beside=False, **fields):
    """`inputs` are shapes and types by name."""
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)
        for name, (shape, kind) in inputs.items()
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, taken, given, **options) for kind, taken, given, options in nodes],
        "recommender",
        infos,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, folder / "m.onnx", save_as_external_data=beside, location="m.weights", size_threshold=1024)
    named = {"float32": "FP32", "int64": "INT64", "int32": "INT32"}
    takes = tuple(
        TensorSpec(name=name, datatype=named[np.dtype(kind).name], shape=tuple(shape))
        for name, (shape, kind) in inputs.items()
    )
    gives = tuple(TensorSpec(name=name, datatype="FP32", shape=("batch", 1)) for name in outputs)
    files = {"model.onnx": folder / "m.onnx"}
    if beside:
        files = {"m.onnx": folder / "m.onnx", "m.weights": folder / "m.weights"}
        fields["parts"] = (Part(file="m.onnx", weights=("m.weights",), inputs=takes, outputs=gives),)
    return store.publish(folder / "artifacts", files, name="recommender", inputs=takes, outputs=gives, **fields)


def score(rows, mask=()):
    """Nodes and weights that make `score` of the values `rows`, of shape [batch, n, width]."""
    means = [("ReduceMean", [each, "axes"], [f"mean_{each}"], {"keepdims": 0}) for each in rows]
    products = [("MatMul", [f"mean_{each}", f"w_{each}"], [f"p_{each}"], {}) for each in rows]
    return [*means, *products, ("Sum", [*(f"p_{each}" for each in rows), *mask], ["score"], {})]


def weights(**widths):
    made = {f"w_{name}": RANDOM.standard_normal((width, 1)).astype(np.float32) for name, width in widths.items()}
    return {"axes": np.array([1]), **made}


IDS = {"items": (["batch", 3], np.int64)}
GATHER = ("Gather", ["table", "items"], ["rows"], {})
PLAIN = ([GATHER, *score(["rows"])], {"table": ITEMS, **weights(rows=64)}, IDS)


def done(folder, *model, **options):
    whole = publish(folder, *model, **options)
    return whole, split(whole, folder / "artifacts", "split", folder / "tables")


def assert_equal(whole, made, **given):
    """Both give the same bits, the split one for rows of the files."""
    tables = {rows: np.load(each.path) for each in made.tables for rows in each.inputs}
    ids = {each.rows: given[each.ids.name] for each in made.artifact.manifest.embeddings}
    fed = given | {name: tables[name][ids[name]] for name in ids}
    taken = {spec.name for spec in made.artifact.manifest.inputs}
    wanted = session(whole).run(None, given)
    found = session(made.artifact).run(None, {name: each for name, each in fed.items() if name in taken})
    assert [each.tobytes() for each in wanted] == [each.tobytes() for each in found]
    assert made.difference == 0


def session(artifact):
    return onnxruntime.InferenceSession(artifact.path / artifact.manifest.graphs[0].file)


@pytest.mark.parametrize("beside", [False, True])
def test_rows_become_an_input_and_the_table_a_file(tmp_path, beside):
    whole, made = done(tmp_path, *PLAIN, beside=beside)
    manifest = made.artifact.manifest
    assert [(spec.name, spec.shape) for spec in manifest.inputs] == [("items_rows", ("batch", 3, 64))]
    (entry,) = manifest.embeddings
    assert (entry.rows, entry.ids.name, entry.num_rows) == ("items_rows", "items", 5000)
    assert manifest.parent == "recommender/1"
    assert manifest.model_bytes < 10_000
    assert np.array_equal(np.load(made.tables[0].path, mmap_mode="r"), ITEMS)
    assert_equal(whole, made, items=RANDOM.integers(0, 5000, (7, 3)))


def test_several_tables_and_look_ups_are_split_off_and_ids_stay_where_others_read_them(tmp_path):
    nodes = [
        GATHER,
        ("Gather", ["table", "items"], ["again"], {}),
        ("Cast", ["seen"], ["seen64"], {"to": TensorProto.INT64}),
        ("Gather", ["table", "seen64"], ["history"], {}),
        ("Gather", ["people", "items"], ["users"], {}),
        ("Cast", ["items"], ["floats"], {"to": TensorProto.FLOAT}),
        ("ReduceMean", ["floats", "axes"], ["mask"], {"keepdims": 1}),
        *score(["rows", "again", "history", "users"], ["mask"]),
    ]
    tables = {"table": ITEMS, "people": np.tile(USERS, (20, 8)), **weights(rows=64, again=64, history=64, users=64)}
    inputs = IDS | {"seen": (["batch", 2], np.int32)}
    whole, made = done(tmp_path, nodes, tables, inputs)
    names = [spec.name for spec in made.artifact.manifest.inputs]
    assert names == ["items", "items_rows", "seen_rows", "items_people_rows"]
    assert [each.inputs for each in made.tables] == [("items_rows", "seen_rows"), ("items_people_rows",)]
    seen = RANDOM.integers(0, 5000, (7, 2)).astype(np.int32)
    assert_equal(whole, made, items=RANDOM.integers(0, 5000, (7, 3)), seen=seen)


ZEROS = np.full(64, 3, np.int8)


def test_a_large_table_whose_ids_the_graph_makes_stays_where_it_is(tmp_path, caplog):
    nodes = [
        GATHER,
        ("Add", ["items", "one"], ["next"], {}),
        ("Gather", ["places", "next"], ["at"], {}),
        *score(["rows", "at"]),
    ]
    tables = {"table": ITEMS, "places": ITEMS + 1, "one": np.array([1]), **weights(rows=64, at=64)}
    whole, made = done(tmp_path, nodes, tables, IDS)
    assert [each.inputs for each in made.tables] == [("items_rows",)]
    assert "stays in the graph: ids of table 'places' must be an input of the graph, but Add makes them" in caplog.text
    assert_equal(whole, made, items=RANDOM.integers(0, 4999, (7, 3)))


SCALE, ZERO = np.float32(0.0173), np.int8(-3)
COLUMNS, ROWS = (RANDOM.random(size).astype(np.float32) / 50 for size in (64, 5000))


@pytest.mark.parametrize(
    ("before", "scale", "zero", "axis"),
    [
        (False, SCALE, ZERO, 1),
        (True, SCALE, ZERO, 1),
        (True, COLUMNS, ZEROS, 1),
        (True, ROWS, None, 0),
    ],
)
def test_rows_of_8_bit_tables_are_floats_as_the_graph_makes_them(tmp_path, before, scale, zero, axis):
    how = ["scale", "zero"][: 2 if zero is not None else 1]
    if before:
        nodes = [
            ("DequantizeLinear", ["table", *how], ["floats"], {"axis": axis}),
            ("Gather", ["floats", "items"], ["rows"], {}),
        ]
    else:
        nodes = [("Gather", ["table", "items"], ["few"], {}), ("DequantizeLinear", ["few", *how], ["rows"], {})]
    numbers = {"table": BYTES, "scale": scale, **weights(rows=64)}
    if zero is not None:
        numbers["zero"] = zero
    whole = publish(tmp_path, [*nodes, *score(["rows"])], numbers, IDS)
    made = split(whole, tmp_path / "artifacts", "split", tmp_path / "tables", ("table",))
    assert made.tables[0].dtype == "float32"
    assert_equal(whole, made, items=RANDOM.integers(0, 5000, (7, 3)))


def changed(nodes=PLAIN[0], tables=None, inputs=None):
    return (nodes, PLAIN[1] | (tables or {}), IDS | (inputs or {}))


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (changed(tables={"table": USERS[:, :8].repeat(8, axis=1)}), r"tables that are looked up: table \[300, 64\]"),
        (changed([*PLAIN[0], ("Transpose", ["table"], ["tied"], {})]), "by row, but Transpose reads it"),
        (changed([("Add", ["items", "one"], ["next"], {}), ("Gather", ["table", "next"], ["rows"], {}),
                  *score(["rows"])], {"one": np.array([1])}), "must be an input of the graph, but Add makes them"),
        (changed([("Gather", ["table", "items"], ["few"], {}), ("Cast", ["few"], ["rows"], {"to": TensorProto.FLOAT}),
                  *score(["rows"])], {"table": np.tile(BYTES, (4, 1))}), "must go to one DequantizeLinear"),
    ],
)  # fmt: skip
def test_what_cannot_be_split_off_is_refused_saying_why(tmp_path, model, rule):
    with pytest.raises(GraphError, match=rule):
        done(tmp_path, *model)


def test_a_table_that_is_named_is_split_off_however_small_and_one_that_is_not_there_is_an_error(tmp_path, capsys):
    whole = publish(tmp_path, *changed(tables={"table": ITEMS[:10]}))
    command = ["split-embeddings", str(whole.path), "--artifacts", str(tmp_path / "artifacts")]
    command += ["--tables", str(tmp_path / "tables")]
    assert main([*command, "--table", "others"]) == 2
    assert r"--table must name a table that is looked up, table [10, 64]; got others" in capsys.readouterr().err
    assert main([*command, "--table", "table"]) == 0
    told = capsys.readouterr().out
    assert "outputs equal those of the whole model, bit for bit" in told
    table, model = yaml.safe_load(told[told.index("applications:") :])["applications"]
    settings = EmbeddingSettings(**table["args"])
    rows = np.concatenate(
        [
            part.values
            for part in initial(settings.initial, 0, settings.shape(), np.arange(1024), settings.initial_sha256)
        ]
    )
    assert np.array_equal(rows, ITEMS[:10])
    assert ModelSettings(**model["args"]).embeddings["items_rows"].table == settings.table == "recommender-split-table"
    assert json.loads((tmp_path / "artifacts/recommender-split/1/manifest.json").read_text())["embeddings"]


def test_a_table_file_that_is_damaged_is_not_loaded(tmp_path):
    _, made = done(tmp_path, *PLAIN)
    table = made.tables[0]
    with table.path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x00")
    shape = EmbeddingSettings(table="items", rows=table.rows, width=table.width).shape()
    with pytest.raises(SettingsError, match="must have sha256"):
        list(initial(str(table.path), 0, shape, np.arange(1024), table.sha256))
