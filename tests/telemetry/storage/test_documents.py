import subprocess
import sys

import pytest

from telemetry.storage.documents import DocumentsInMemory, DocumentsOnDisk


@pytest.fixture(params=["memory", "disk"])
def documents(request, tmp_path):
    return DocumentsInMemory() if request.param == "memory" else DocumentsOnDisk(tmp_path / "documents.sqlite")


def test_a_document_is_read_as_it_was_kept_and_replaced_by_its_name(documents):
    assert documents.kept("usual") is None
    documents.keep("usual", {"median": 1.5, "seen": [1, 2]})
    documents.keep("usual", {"median": 2.5})
    assert documents.kept("usual") == {"median": 2.5}


KEEPER = """
import os, signal, sys
from pathlib import Path
from telemetry.storage.documents import DocumentsOnDisk
documents = DocumentsOnDisk(Path(sys.argv[1]))
for index in range(50):
    documents.keep(f"silence {index}", {"number": index})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_kept_is_there_after_a_kill(tmp_path):
    path = tmp_path / "documents.sqlite"
    subprocess.run([sys.executable, "-c", KEEPER, path], check=False)
    documents = DocumentsOnDisk(path)
    assert [documents.kept(f"silence {index}") for index in range(50)] == [{"number": index} for index in range(50)]
    documents.close()


def test_without_room_documents_are_kept_in_memory_and_written_with_the_next(tmp_path, caplog):
    path = tmp_path / "documents.sqlite"
    documents = DocumentsOnDisk(path)
    connection = documents._database._connection
    connection.execute("PRAGMA max_page_count = 1")
    documents.keep("large", "x" * 100_000)
    documents.keep("small", 1)
    assert (documents.kept("large"), documents.kept("small")) == ("x" * 100_000, 1)
    assert len(caplog.records) == 1
    connection.execute("PRAGMA max_page_count = 100000")
    documents.keep("another", 2)
    documents.close()
    again = DocumentsOnDisk(path)
    assert (again.kept("large"), again.kept("small"), again.kept("another")) == ("x" * 100_000, 1, 2)
    again.close()


def test_a_damaged_file_is_put_aside_and_a_new_one_begun(tmp_path):
    path = tmp_path / "documents.sqlite"
    path.write_bytes(b"no database" * 1000)
    documents = DocumentsOnDisk(path)
    assert documents.num_put_aside == 1
    documents.keep("usual", 1)
    assert documents.kept("usual") == 1
    assert len(list(tmp_path.glob("documents.damaged-*.sqlite"))) == 1
    documents.close()
