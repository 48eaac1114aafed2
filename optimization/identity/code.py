"""Digests of code: Trimtab's own, and the user's that a recipe names by import path. Nothing is imported for it."""

import ast
import hashlib
import platform
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

import optimization

_OWN = Path(optimization.__file__).resolve().parent
_INSTALLED = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")})


@cache
def own() -> str:
    """Digest of optimization's sources and of the package's version: what computes, and how."""
    return _digest(_OWN.rglob("*.py"), _OWN, release("trimtab"))


def named(import_path: str) -> str:
    """What tells the code that an import path such as `package.module:name` names from other code.

    Of the user's own it is a digest of the whole package, or of the module, and of what these import of the user's own
    code, wherever an import stands in them. An installed package is known by its version, a module of ours by its file.
    """
    module = import_path.partition(":")[0]
    top = module.partition(".")[0]
    place = _place(top)
    if place is None:
        return ""  # importing it will tell
    if place == _OWN:
        return _digest([place.parent / f"{module.replace('.', '/')}.py"], place.parent)
    if _is_installed(place):
        packages = sorted(set(packages_distributions().get(top, [])))
        return " ".join(f"{each} {release(each)}" for each in packages) or f"python {platform.python_version()}"
    hashed = hashlib.sha256()
    left, known = [(top, place)], {top}
    while left:
        name, place = left.pop()
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
        hashed.update(f"{name}\0{_digest(files, place.parent)}".encode())
        for each in sorted({each for file in files for each in _imported(file)} - known):
            known.add(each)
            beside = _place(each)
            if beside is not None and beside != _OWN and not _is_installed(beside):
                left.append((each, beside))
    return hashed.hexdigest()


def release(package: str) -> str:
    """The installed package's version; none where it is used from its sources, or is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _digest(files: Iterable[Path], root: Path, *more: str) -> str:
    hashed = hashlib.sha256("\0".join(more).encode())
    for file in sorted(files):
        hashed.update(f"{file.relative_to(root)}\0".encode())
        hashed.update(hashlib.sha256(file.read_bytes()).digest())
    return hashed.hexdigest()


def _is_installed(place: Path) -> bool:
    return any(place.is_relative_to(each) for each in _INSTALLED)


def _place(top: str) -> Path | None:
    """The file of a module or the folder of a package, as an import from the working folder would find it."""
    spec = PathFinder.find_spec(top, [str(Path.cwd()), *sys.path])
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.origin and spec.origin.endswith(".py") else None


def _imported(file: Path) -> Iterator[str]:
    """First names of the modules that a file imports anywhere in it."""
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:
        return  # importing it will tell
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
