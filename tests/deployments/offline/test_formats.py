"""Each format, with rows that are as they should be and rows that are hostile."""

import json

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deployments.errors import ScoringError
from deployments.offline import csv_rows, json_rows, parquet_rows, text_rows
from deployments.offline.files import found
from tests.conftest import expected_probabilities
from tests.deployments.offline.runs import publish_adder, publish_brightness, run, written

FILES = fsspec.filesystem("file")


@pytest.fixture(scope="module")
def adder(tmp_path_factory):
    return publish_adder(tmp_path_factory.mktemp("adder"))


def read_back(module, path, chunk_rows, *more):
    """All values of a file, cut into chunks and read chunk by chunk."""
    inputs = found(str(path))[1]
    schema, chunks = module.cut(FILES, inputs, chunk_rows)
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    arguments = {csv_rows: (list(schema), list(schema)), json_rows: (list(schema), schema)}.get(module, (list(schema),))
    rows = [rows for chunk in chunks for rows in module.read(FILES, inputs[chunk.file].path, chunk, *arguments, *more)]
    assert [len(each.errors) for each in rows] == [len(each.where) for each in rows]
    return rows


@settings(max_examples=30)
@given(texts=st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"))), rows=st.integers(1, 5))
def test_each_line_of_text_is_one_row_whatever_the_chunks(tmp_path_factory, texts, rows):
    path = tmp_path_factory.mktemp("lines") / "x.txt"
    path.write_bytes("".join(f"{text}\n" for text in texts).encode())
    values = [value for each in read_back(text_rows, path, rows) for value in each.values["text"]]
    assert values == [text.removeprefix("\ufeff") if not at else text for at, text in enumerate(texts)]


CELL = st.text(st.characters(exclude_characters="\0", codec="utf-8"))


@settings(max_examples=30)
@given(cells=st.lists(st.tuples(CELL, CELL)), rows=st.integers(1, 5))
def test_quoted_csv_fields_may_hold_commas_quotes_and_line_breaks(tmp_path_factory, cells, rows):
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in cells]
    path.write_bytes("\n".join(["a,b", *quoted]).encode())
    read = read_back(csv_rows, path, rows)
    assert [error for each in read for error in each.errors] == [None] * len(cells)
    assert [row for each in read for row in zip(each.values["a"], each.values["b"], strict=True)] == cells


def test_a_csv_row_of_too_few_fields_or_broken_quotes_is_bad_and_its_neighbours_are_not(tmp_path):
    (tmp_path / "x.csv").write_bytes(b'a,b\n1,2\n3\n\n"4"x,5\n6,7,8\n\xff,9\n10,5" pipe\n')
    (rows,) = read_back(csv_rows, tmp_path / "x.csv", 100)
    assert [bool(error) for error in rows.errors] == [False, True, True, True, True, False]
    assert rows.errors[1] == "the row must have 2 fields, as the header has, got 1"
    assert rows.values["a"][0] == "1"
    assert rows.values["b"][5] == '5" pipe'


def test_a_quote_that_is_never_closed_ends_the_run_with_its_place(tmp_path):
    (tmp_path / "x.csv").write_bytes(b'a,b\n1,"2\n3,4\n')
    with pytest.raises(ScoringError, match=r"x\.csv: the record at byte 4 must end .* a quote that opens there"):
        read_back(csv_rows, tmp_path / "x.csv", 100)


def test_json_rows_of_several_types_are_kept_as_what_holds_them_all(tmp_path):
    lines = ['{"a": 1, "b": "x"}', '{"a": 2.5, "c": [1, 2]}', "[1]", "{broken", '{"a": null, "b": 3, "d": 1e400}']
    (tmp_path / "x.jsonl").write_text("\n".join([*lines, "", '{"e": 100000000000000000000}']))
    (rows,) = read_back(json_rows, tmp_path / "x.jsonl", 100)
    assert [bool(error) for error in rows.errors] == [False, False, True, True, True, False]
    assert rows.columns["a"].to_pylist()[:2] == [1.0, 2.5]
    assert rows.columns["b"].to_pylist()[0] == "x"
    assert rows.columns["c"].to_pylist()[1] == "[1,2]"


@settings(max_examples=30)
@given(groups=st.lists(st.integers(0, 200), max_size=5), chunk_rows=st.integers(1, 100))
def test_every_row_of_parquet_is_in_one_chunk_whatever_its_row_groups(tmp_path_factory, groups, chunk_rows):
    path = tmp_path_factory.mktemp("parquet") / "x.parquet"
    numbers = iter(range(sum(groups)))
    with pq.ParquetWriter(path, pa.schema([("a", pa.int64())])) as writer:
        for size in groups:
            writer.write_table(pa.table({"a": [next(numbers) for _ in range(size)]}, writer.schema))
    rows = read_back(parquet_rows, path, chunk_rows, ["a"])
    assert [value for each in rows for value in each.columns["a"].to_pylist()] == list(range(sum(groups)))


def test_a_parquet_file_of_other_columns_is_named(tmp_path):
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": ["1"], "b": ["x"]}), tmp_path / "2.parquet")
    with pytest.raises(ScoringError, match=r"2\.parquet must have the columns of .*1\.parquet: 'a' must be int64"):
        parquet_rows.cut(FILES, found(str(tmp_path))[1], 10)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all"])
def test_a_file_that_is_no_parquet_is_named(tmp_path, content):
    (tmp_path / "1.parquet").write_bytes(content)
    with pytest.raises(ScoringError, match=r"1\.parquet cannot be read: "):
        parquet_rows.cut(FILES, found(str(tmp_path))[1], 10)


def test_files_of_several_formats_or_none_are_refused(tmp_path):
    with pytest.raises(ScoringError, match="there is none"):
        found(str(tmp_path))
    (tmp_path / "a.csv").write_text("a\n")
    (tmp_path / "_plan.json").write_text("{}")
    assert found(str(tmp_path))[0] == "csv"
    (tmp_path / "b.txt").write_text("a\n")
    with pytest.raises(ScoringError, match=r"of one format, got csv, text: .*a\.csv, .*b\.txt"):
        found(str(tmp_path))


def test_csv_columns_are_put_together_to_the_model_s_input(tiny_artifact, tmp_path):
    features = np.arange(12.0, dtype=np.float32).reshape(3, 4) / 10
    lines = [
        "id,w,x,y,z",
        *(",".join(map(str, (at, *row))) for at, row in enumerate(features)),
        "3,1,,1,1",
        "4,a,1,1,1",
    ]
    (tmp_path / "x.csv").write_text("\n".join(lines))
    columns = {"features": ("w", "x", "y", "z")}
    progress = run(tiny_artifact, tmp_path / "x.csv", tmp_path / "out", columns=columns, keep=("id",), max_bad=2)
    table = written(tmp_path / "out")
    assert table.column_names == ["id", "label", "probabilities", "error"]
    expected = expected_probabilities(features)
    np.testing.assert_allclose(table["probabilities"].to_pylist()[:3], expected, rtol=1e-5)
    assert table["label"].to_pylist() == [*("abc"[at] for at in expected.argmax(1)), None, None]
    assert table["error"].to_pylist()[:3] == [None] * 3
    assert table["error"][3].as_py() == "input 'features': column 'x' has no value"
    assert table["error"][4].as_py() == "input 'features': FP32 cannot hold 'a'"
    assert (progress.num_rows, progress.num_bad) == (5, 2)


HOSTILE = [[1, 2, 3], [1, 2, 3, "x"], None, 7, [1e39, 0, 0, 0], [True, 0, 0, 0], [[1, 2], [3]], {}]


def test_bad_json_values_mark_their_rows_alone(tiny_artifact, tmp_path):
    rows = [[1, 2, 3, 4], *HOSTILE, [4, 3, 2, 1]]
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps({"features": row}) for row in rows))
    run(tiny_artifact, tmp_path / "x.jsonl", tmp_path / "out", max_bad=100)
    table = written(tmp_path / "out")
    assert [error is None for error in table["error"].to_pylist()] == [True, *[False] * len(HOSTILE), True]
    good = np.array([rows[0], rows[-1]], np.float32)
    answers = table["probabilities"].to_pylist()
    np.testing.assert_allclose([answers[0], answers[-1]], expected_probabilities(good), rtol=1e-5)


def test_parquet_lists_with_missing_and_infinite_numbers_mark_their_rows_alone(tiny_artifact, tmp_path):
    rows = [[1.0, 2, 3, 4], None, [1.0, None, 3, 4], [1.0, 2], [float("inf"), 0, 0, 0], [0.0, 0, 0, 0]]
    pq.write_table(pa.table({"features": rows, "label": list("uvwxyz")}), tmp_path / "x.parquet")
    run(tiny_artifact, tmp_path / "x.parquet", tmp_path / "out", max_bad=100)
    table = written(tmp_path / "out")
    assert table.column_names == ["features", "label", "predicted_label", "probabilities", "error"]
    assert table["label"].to_pylist() == list("uvwxyz")
    assert [error is None for error in table["error"].to_pylist()] == [True, False, False, False, False, True]


def test_lines_of_text_are_tokenized_and_answered_in_their_order(adder, tmp_path):
    lines = [b"one", b"two three two", b"\xff", b"", b"three " * 9, b"one two"]
    (tmp_path / "x.txt").write_bytes(b"\n".join(lines))
    run(adder, tmp_path / "x.txt", tmp_path / "out", max_bad=1)
    table = written(tmp_path / "out")
    totals = [each and each[0] for each in table["total"].to_pylist()]
    assert [totals[0], totals[1], totals[4], totals[5]] == [1, 7, 27, 3]
    assert "must be UTF-8" in table["error"][2].as_py()
    assert table["text"].to_pylist()[1] == "two three two"


def test_tokens_of_unequal_length_are_padded_and_outputs_are_cut_again(tmp_path):
    artifact = publish_adder(tmp_path / "artifacts", takes_text=False)
    ids = [[3, 1], [2], [1, 2, 3, 1, 2, 3, 1, 2, 3], [1, 1, 1]]
    pq.write_table(pa.table({"ids": ids, "mask": [[1] * len(row) for row in ids]}), tmp_path / "x.parquet")
    columns = {"input_ids": ("ids",), "attention_mask": ("mask",)}
    run(artifact, tmp_path / "x.parquet", tmp_path / "out", columns=columns, keep=())
    table = written(tmp_path / "out")
    assert table["ids"].to_pylist() == ids
    assert table["total"].to_pylist() == [[sum(row)] for row in ids]


def test_pictures_are_decoded_and_one_that_cannot_be_is_marked(tmp_path):
    artifact = publish_brightness(tmp_path / "artifacts")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, value in (("a.png", 51), ("c.png", 255)):
        Image.new("L", (5, 5), value).save(folder / name)
    (folder / "b.jpg").write_bytes(b"no picture")
    run(artifact, folder, tmp_path / "out", max_bad=1, chunk_rows=2)
    table = written(tmp_path / "out")
    assert table["path"].to_pylist() == [str(folder / name) for name in ("a.png", "b.jpg", "c.png")]
    np.testing.assert_allclose(np.array(table["brightness"].to_pylist(), float)[[0, 2]], [0.2, 1.0])
    assert "must be a JPEG or PNG" in table["error"][1].as_py()


def test_what_is_at_a_url_is_read_and_written_there(tiny_artifact, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe("/in/x.jsonl", b'{"features": [1, 2, 3, 4]}\n' * 10)
    run(tiny_artifact, "memory://in", "memory://out", chunk_rows=4)
    parts = sorted(path for path in memory.ls("/out", detail=False) if path.endswith(".parquet"))
    assert [pq.read_table(memory.open(part)).num_rows for part in parts] == [4, 4, 2]
    assert run(tiny_artifact, "memory://in", "memory://out", chunk_rows=4).num_before == 10
    memory.rm("/", recursive=True)
