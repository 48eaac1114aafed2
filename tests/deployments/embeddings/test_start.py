"""`python -m deployments table FILE`: what is wrong with the file is told before any cluster is looked for."""

import pytest

from deployments.__main__ import FAILED, main
from deployments.embeddings.start import read


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "must be a YAML file with the settings of a table"),
        ("- rows", "must hold the settings of a table, got list"),
        ("{table: items, rows: 0, width: 4}", "rows: Input should be greater than or equal to 1, got 0"),
        ("{table: items, rows: 10, width: 4, shards: 1}", "shards must be at least copies, 2"),
    ],
)
def test_a_file_that_is_no_table_is_told_by_name_and_rule(content, told, tmp_path, capsys):
    file = tmp_path / "table.yaml"
    if content is not None:
        file.write_text(content)
    assert main(["table", str(file)]) == FAILED
    assert told in capsys.readouterr().err


def test_a_file_says_what_the_args_of_an_application_say(tmp_path):
    (tmp_path / "table.yaml").write_text("{table: items, rows: 10, width: 4, initial: normal}")
    assert read(tmp_path / "table.yaml").shape().rows == 10
