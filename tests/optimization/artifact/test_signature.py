"""Signatures of artifacts: what is asked for is what is signed, and nothing else is taken for it."""

import base64
import copy
import json
import shutil

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from optimization.__main__ import main
from optimization.artifact import signature
from optimization.artifact.signature import SignatureError
from optimization.artifact.store import MANIFEST, ArtifactError, load
from tests.conftest import publish_tiny


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A version that is signed, the private key's file, and the public key."""
    folder = tmp_path_factory.mktemp("signed")
    path = publish_tiny(folder / "artifacts").path
    key = folder / "signing.pem"
    public = signature.make_key(key)
    assert signature.sign(path, key) == public
    return path, key, public


def check(path, *keys, name="tiny", version="1"):
    return signature.check(path, keys, name=name, version=version)


def test_a_signed_version_loads_and_says_who_signed_it(signed):
    path, _, public = signed
    assert check(path, public) == public
    assert load(path).manifest.signatures[0].key == public


def test_what_is_signed_is_the_canonical_manifest_by_ed25519(signed):
    """Held against the library itself, over bytes made here."""
    path, _, public = signed
    content = json.loads((path / MANIFEST).read_text())
    (entry,) = content.pop("signatures")
    raw = base64.b64decode(public.removeprefix("ed25519:"))
    text = b"trimtab artifact\n" + json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    key = Ed25519PublicKey.from_public_bytes(raw)
    key.verify(base64.b64decode(entry["signature"]), text)
    with pytest.raises(InvalidSignature):
        key.verify(base64.b64decode(entry["signature"]), text + b" ")


def leaves(value, path=()):
    if isinstance(value, dict):
        for name, each in value.items():
            yield from leaves(each, (*path, name))
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from leaves(each, (*path, at))
    else:
        yield path


@settings(max_examples=30)
@given(data=st.data())
def test_no_value_of_the_manifest_can_be_changed(signed, data):
    path, _, public = signed
    content = json.loads((path / MANIFEST).read_text())
    where = data.draw(st.sampled_from(sorted(leaves(content), key=str)))
    changed = copy.deepcopy(content)
    parent = changed
    for step in where[:-1]:
        parent = parent[step]
    old = parent[where[-1]]
    parent[where[-1]] = data.draw(
        st.one_of(st.text(max_size=8), st.integers(0, 9), st.none()).filter(lambda new: new != old)
    )
    altered = path.parent / "altered"
    altered.mkdir(exist_ok=True)
    (altered / MANIFEST).write_text(json.dumps(changed))
    with pytest.raises(ArtifactError):
        check(altered, public)


def test_no_file_can_be_changed(signed, tmp_path):
    path, _, public = signed
    copied = shutil.copytree(path, tmp_path / "copy")
    file = copied / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    check(copied, public)  # the manifest is as it was
    with pytest.raises(ArtifactError, match="damaged or altered"):
        load(copied)


@pytest.mark.parametrize("wanted", [{"name": "other"}, {"version": "2"}])
def test_a_signature_holds_for_one_name_and_version(signed, wanted):
    """An old version, or another model, put in the place of this one is refused, well signed as it is."""
    path, _, public = signed
    with pytest.raises(SignatureError, match="got the manifest of tiny/1"):
        check(path, public, **wanted)


def test_another_key_and_no_key_are_refused(signed, tmp_path):
    path, _, public = signed
    other = signature.make_key(tmp_path / "other.pem")
    with pytest.raises(
        SignatureError, match=f"must be signed by one of {other}, got signatures by {public}".replace("+", r"\+")
    ):
        check(path, other)
    unsigned = publish_tiny(tmp_path / "artifacts").path
    with pytest.raises(SignatureError, match="got no signature"):
        check(unsigned, public)


def test_several_may_sign_and_each_signs_once(signed, tmp_path):
    path, key, public = signed
    copied = shutil.copytree(path, tmp_path / "copy")
    other = signature.make_key(tmp_path / "other.pem")
    signature.sign(copied, tmp_path / "other.pem")
    signature.sign(copied, key)
    assert sorted(each.key for each in load(copied).manifest.signatures) == sorted([public, other])
    assert check(copied, other) == other and check(copied, public) == public


def test_a_damaged_version_is_not_signed(signed, tmp_path):
    path, key, _ = signed
    copied = shutil.copytree(path, tmp_path / "copy")
    (copied / "model.onnx").write_bytes(b"")
    before = (copied / MANIFEST).read_bytes()
    with pytest.raises(ArtifactError, match="truncated or altered"):
        signature.sign(copied, key)
    assert (copied / MANIFEST).read_bytes() == before


def test_a_private_key_is_its_owners_and_is_not_written_over(tmp_path):
    key = tmp_path / "signing.pem"
    signature.make_key(key)
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SignatureError, match="must be a new file"):
        signature.make_key(key)


def test_a_key_may_have_a_passphrase(signed, tmp_path, monkeypatch):
    copied = shutil.copytree(signed[0], tmp_path / "copy")
    monkeypatch.setenv(signature.PASSPHRASE, "correct horse")
    public = signature.make_key(tmp_path / "signing.pem")
    assert b"ENCRYPTED" in (tmp_path / "signing.pem").read_bytes()
    assert signature.sign(copied, tmp_path / "signing.pem") == public
    monkeypatch.setenv(signature.PASSPHRASE, "wrong")
    with pytest.raises(SignatureError, match="TRIMTAB_SIGNING_PASSPHRASE"):
        signature.sign(copied, tmp_path / "signing.pem")


def test_the_command_makes_a_key_signs_and_checks(tmp_path, capsys):
    path, key = publish_tiny(tmp_path).path, tmp_path / "signing.pem"
    assert main(["sign", "--make-key", str(key)]) == 0
    public = capsys.readouterr().out.strip()
    assert main(["sign", str(path), "--by", public]) == 2
    assert "must be signed, got no signature" in capsys.readouterr().err
    assert main(["sign", str(path), "--key", str(key)]) == 0
    assert main(["sign", str(path), "--by", public]) == 0
    assert capsys.readouterr().out.split() == [public, public]
    assert main(["sign", str(path), "--by", "nonsense"]) == 2
    assert "32 bytes in base64" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nS3CRET\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_one_error_that_repeats_nothing_of_it(content, tmp_path):
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(SignatureError, match="must be a private key in PEM form") as refused:
        signature.sign(publish_tiny(tmp_path).path, tmp_path / "key.pem")
    assert "S3CRET" not in str(refused.value)
