import os
from pathlib import Path

import pytest

from optimization.identity import content


def write(path: Path, text: str, mtime_s: float | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if mtime_s is not None:
        os.utime(path, (mtime_s, mtime_s))
    return path


def test_a_file_is_known_by_its_bytes_not_by_its_time(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x,y\n1,2\n", mtime_s=1)
    before = content.of_path(path)
    assert content.of_path(write(path, "x,y\n1,2\n", mtime_s=2)) == before
    assert content.of_path(write(path, "x,y\n1,3\n", mtime_s=2)) != before, "of the same size and time"


@pytest.mark.parametrize("change", ["content", "name", "another"])
def test_a_folder_changes_with_each_file_below_it(tmp_path: Path, change: str) -> None:
    file = write(tmp_path / "cats" / "1.png", "cat")
    before = content.of_path(tmp_path)
    if change == "content":
        write(file, "dog")
    elif change == "name":
        file.rename(file.with_name("2.png"))
    else:
        write(tmp_path / "dogs" / "1.png", "")
    assert content.of_path(tmp_path) != before


def test_what_is_huge_is_known_by_size_time_and_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "WHOLE_BYTES", 10)
    path = write(tmp_path / "a.csv", "0123456789abc", mtime_s=1)
    before = content.of_path(path)
    assert content.of_path(write(path, "0123456789abc", mtime_s=1)) == before
    assert content.of_path(write(path, "0123456789abc", mtime_s=2)) != before
    assert content.of_path(write(path, "0123456789abd", mtime_s=1)) != before
    assert content.of_path(write(path, "0123456789ab", mtime_s=1)) != before
