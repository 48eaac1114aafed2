"""docs/security.md: each threat names the test that shows what stands against it."""

import re
from pathlib import Path

import pytest

ROWS = re.findall(r"^\| (.+?) \| (.+?) \| `(.+?)::(\w+)` \|$", Path("docs/security.md").read_text(), re.M)


def test_every_row_of_the_table_names_a_test():
    table = Path("docs/security.md").read_text().partition("## Threats")[2].partition("## What is left")[0]
    assert len(ROWS) == len([line for line in table.splitlines() if line.startswith("| ")]) - 1
    assert len(ROWS) > 20


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[3])
def test_the_test_of_each_threat_exists(row):
    threat, _, file, name = row
    assert f"def {name}(" in Path(file).read_text(), threat
