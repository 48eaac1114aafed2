"""`python -m optimization sign`: makes a key, signs a version, or says who has signed it."""

import argparse
from pathlib import Path

from optimization.artifact import signature
from optimization.artifact.signature import SignatureError
from optimization.artifact.store import load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say; a private key is named by its file, never given."""
    parser.add_argument("artifact", type=Path, nargs="?", help="a version's directory, such as artifacts/signals/1")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--key", type=Path, metavar="FILE", help=f"sign by this private key ({signature.PASSPHRASE})")
    how.add_argument(
        "--by", action="append", metavar="PUBLIC", help="check that one of these public keys has signed it"
    )
    how.add_argument("--make-key", type=Path, metavar="FILE", help="make a private key, and print its public key")


def run(options: argparse.Namespace) -> None:
    """Do so, and print the public key, which is what `signed_by` in `args` takes.

    Raises:
        ArtifactError: the version is damaged or not signed so, or a key cannot be used.
    """
    if options.make_key:
        print(signature.make_key(options.make_key))
        return
    if options.artifact is None:
        raise SignatureError("sign needs the directory of a version, such as artifacts/signals/1")
    if options.key:
        print(signature.sign(options.artifact, options.key))
        return
    for each in options.by:
        try:
            signature.public_key(each)
        except ValueError as error:
            raise SignatureError(f"--by: {error}") from error
    manifest = load(options.artifact).manifest
    print(signature.check(options.artifact, options.by, name=manifest.name, version=manifest.version))
