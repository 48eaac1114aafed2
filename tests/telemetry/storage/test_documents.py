from telemetry.storage.documents import DocumentsInMemory


def test_a_document_is_read_as_it_was_kept_and_replaced_by_its_name():
    documents = DocumentsInMemory()
    assert documents.kept("usual") is None
    documents.keep("usual", {"median": 1.5, "seen": [1, 2]})
    documents.keep("usual", {"median": 2.5})
    assert documents.kept("usual") == {"median": 2.5}
