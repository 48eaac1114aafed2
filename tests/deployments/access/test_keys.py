"""The file of keys: what is written, who can read it, what is refused."""

import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
import yaml

from deployments.access import keys
from deployments.access.keys import Key
from deployments.errors import SettingsError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.yaml"


def entry(id_, text="x", **changes):
    return Key(id=id_, sha256=keys.hash_of(text), **changes)


def test_the_file_holds_the_hash_and_not_the_key(path):
    text = keys.new_key("ci")
    keys.add(path, entry("ci", text))
    written = path.read_text()
    assert hashlib.sha256(text.encode()).hexdigest() in written
    assert text.rpartition(".")[2] not in written


def test_only_the_owner_can_read_the_file(path):
    keys.add(path, entry("ci"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_keys_are_never_alike_and_carry_256_bits():
    made = {keys.new_key("ci") for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(text.rpartition(".")[2]) >= 256 / 6 for text in made)


def test_what_was_added_is_read_back_and_revoked(path):
    limited = entry("a", models=("text-*",), requests_per_s=5, burst=2, admin=True, expires=keys.now())
    keys.add(path, limited)
    keys.add(path, entry("b"))
    assert keys.load(path).keys == (limited, entry("b"))
    keys.revoke(path, "a")
    assert keys.load(path).keys == (entry("b"),)


def test_ids_are_unique_and_only_known_ones_are_revoked(path):
    keys.add(path, entry("ci"))
    with pytest.raises(SettingsError, match="must be new, got 'ci'"):
        keys.add(path, entry("ci"))
    with pytest.raises(SettingsError, match="no key 'other', only ci"):
        keys.revoke(path, "other")


def test_writers_at_the_same_time_lose_no_key(path):
    with ThreadPoolExecutor(3) as writers:  # the lock holds between threads as between processes
        list(writers.map(lambda number: keys.add(path, entry(f"key-{number}")), range(30)))
    assert len(keys.load(path).keys) == 30


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"keys": [{"id": "a", "sha256": "short"}]}, r"keys\.0\.sha256"),
        ({"keys": [{"id": "A b", "sha256": "0" * 64}]}, r"keys\.0\.id"),
        ({"keys": [{"id": "a", "sha256": "0" * 64, "model": "x"}]}, r"keys\.0\.model: Extra"),
        ({"keys": [{"id": "a", "sha256": "0" * 64, "expires": "2027-01-01T00:00:00"}]}, "timezone"),
        ({"keys": [{"id": "a", "sha256": "0" * 64}] * 2}, "each id must stand once, got a"),
        ([], "valid dictionary"),
    ],
)
def test_a_wrong_entry_is_named_and_no_hash_is_shown(path, content, said):
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(SettingsError, match=said) as raised:
        keys.load(path)
    assert "0" * 64 not in str(raised.value)


@pytest.mark.parametrize("text", ["a: [", "\x00"])
def test_what_is_no_yaml_is_refused(path, text):
    path.write_text(text)
    with pytest.raises(SettingsError, match="is no YAML"):
        keys.load(path)


def test_a_missing_file_says_what_makes_it(path):
    with pytest.raises(SettingsError, match="python -m deployments key add"):
        keys.load(path)


def test_json_is_read_as_well(path):
    path.write_text('{"keys": [{"id": "a", "sha256": "%s"}]}' % ("0" * 64))
    assert [key.id for key in keys.load(path).keys] == ["a"]


def test_globs_open_models_and_time_closes():
    assert entry("a", models=("text-*", "digits")).opens("text-small")
    assert not entry("a", models=("text-*", "digits")).opens("digits2")
    assert entry("a").opens("anything")
    end = datetime.fromisoformat("2027-01-01T00:00:00+00:00")
    key = entry("a", expires=end)
    assert not key.has_expired(end - timedelta(seconds=1))
    assert key.has_expired(end)


@pytest.mark.parametrize("text", ["", ".", "..", "trimtab", "trimtab.a", "trimtab.a.b.c", "other.a.b"])
def test_a_text_of_another_form_has_no_id(text):
    assert keys.id_in(text) == ""
