"""Who stands for an artifact: Ed25519 signatures (RFC 8032) of its manifest, which holds every file's sha256.

    sign:   directory -> loaded, every file checked -> manifest without signatures, canonical -> signed -> one rename
    check:  manifest  -> whose signature, of these bytes, for this name and version?

The signatures stand in the manifest, so they travel with it wherever it is copied or pushed. What is signed is the JSON
that a reader understands, not the file's bytes: keys sorted, no spaces (much as RFC 8785 has it).
"""

import base64
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from optimization.artifact.store import MANIFEST, ArtifactError, load, parse_manifest

PASSPHRASE = "TRIMTAB_SIGNING_PASSPHRASE"
"""Environment variable: what the private key's file is encrypted with, if it is."""
_KIND = "ed25519:"
_PURPOSE = b"trimtab artifact\n"
"""Begins what is signed, so that a signature made for something else is none of an artifact."""
_FIELD = "signatures"


class SignatureError(ArtifactError):
    """An artifact is not signed by whom it must be, or a key cannot be used."""


def make_key(path: Path) -> str:
    """Write a new private key to the file, readable for its owner alone; the public key that belongs to it.

    Raises:
        SignatureError: the file is there already, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    passphrase = os.environ.get(PASSPHRASE)
    encryption = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    except OSError as error:
        raise SignatureError(f"{path} must be a new file, got: {error.strerror}") from error
    return _text(key.public_key())


def sign(folder: Path, key_file: Path) -> str:
    """Sign the version in the directory, after every file was checked; the public key that it is signed by.

    Another signature by the same key is replaced; those by others stay.

    Raises:
        ArtifactError: the version is damaged, or the key cannot be used.
    """
    key = _private(key_file)
    load(folder)
    path = folder / MANIFEST
    content: dict[str, Any] = json.loads(path.read_bytes())
    public = _text(key.public_key())
    others = [each for each in content.get(_FIELD, []) if each["key"] != public]
    signature = base64.b64encode(key.sign(_signed(content))).decode()
    content[_FIELD] = [*others, {"key": public, "signature": signature}]
    fresh = path.with_name(f".{MANIFEST}.new")
    fresh.write_text(json.dumps(content, indent=2) + "\n")
    fresh.replace(path)
    return public


def check(folder: Path, signed_by: Sequence[str], *, name: str, version: str) -> str:
    """The first of the public keys `signed_by` that has signed the manifest in the directory for `name` and `version`.

    Files are not looked at: `load` holds them against the manifest.

    Raises:
        SignatureError: none has.
    """
    where = f"artifact {name}/{version}"
    try:
        raw = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise SignatureError(f"{where}: {folder / MANIFEST} cannot be read: {error.strerror}") from error
    manifest = parse_manifest(raw, folder / MANIFEST)
    if (manifest.name, manifest.version) != (name, version):
        raise SignatureError(f"{where} must be signed as such, got the manifest of {manifest.name}/{manifest.version}")
    if not manifest.signatures:
        raise SignatureError(f"{where} must be signed, got no signature: sign it with `python -m optimization sign`")
    content = _signed(json.loads(raw))
    for each in manifest.signatures:
        if each.key in signed_by:
            try:
                _public(each.key).verify(base64.b64decode(each.signature), content)
            except (InvalidSignature, ValueError) as error:
                raise SignatureError(
                    f"{where}: its signature by {each.key} is not of this manifest: altered"
                ) from error
            return each.key
    signers = ", ".join(each.key for each in manifest.signatures)
    raise SignatureError(f"{where} must be signed by one of {', '.join(signed_by)}, got signatures by {signers}")


def public_key(text: str) -> str:
    """`text`, if it is a public key.

    Raises:
        ValueError: it is not.
    """
    _public(text)
    return text


def _signed(content: dict[str, Any]) -> bytes:
    rest = {name: value for name, value in content.items() if name != _FIELD}
    return _PURPOSE + json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()


def _public(text: str) -> Ed25519PublicKey:
    try:
        if not text.startswith(_KIND):
            raise ValueError(text)
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text.removeprefix(_KIND), validate=True))
    except ValueError as error:
        rule = f"a public key must be {_KIND} and 32 bytes in base64, as `python -m optimization sign` prints it"
        raise ValueError(f"{rule}, got {text[:80]!r}") from error


def _text(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return _KIND + base64.b64encode(raw).decode()


def _private(path: Path) -> Ed25519PrivateKey:
    passphrase = os.environ.get(PASSPHRASE)
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), passphrase.encode() if passphrase else None)
    except OSError as error:
        raise SignatureError(f"{path} must hold a private key, and cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm):  # their words may hold parts of the key
        rule = f"{path} must be a private key in PEM form"
        raise SignatureError(f"{rule}, and {PASSPHRASE} its passphrase if it has one") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(f"{path} must hold an Ed25519 key, got another kind; --make-key makes one")
    return key
