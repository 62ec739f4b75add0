"""The libraries that a script needs, with everything that they need, at the versions in use."""

from __future__ import annotations

import functools
import platform
import re
from collections.abc import Iterable, Mapping
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

#: What every script that `reproduction` writes imports, by itself or through transformers.
_ALWAYS = ("accelerate", "numpy", "peft", "safetensors", "torch", "transformers")


def lock_list(modules: Iterable[str] = ()) -> str:
    """A requirements file of exact versions; `modules` are import names beside the usual ones.

    A build's own mark, such as +cu128, is left off: it names a download, not other code.
    """
    owners = _owners()
    roots = {*_ALWAYS, *(owner for module in modules for owner in owners.get(module, ()))}
    versions = sorted(_closure(roots).items())
    lines = [
        f"# Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        *(f"{name}=={Version(version).public}" for name, version in versions),
    ]
    return "\n".join(lines) + "\n"


@functools.cache  # half a second, and it stays as it is while a process lives
def _owners() -> Mapping[str, list[str]]:
    """Import name -> the packages that bring it."""
    return metadata.packages_distributions()


def _closure(roots: Iterable[str]) -> dict[str, str]:
    """Name -> version of some packages and of all they need here; absent ones are left out."""
    found: dict[str, str] = {}
    waiting = [_normal(name) for name in roots]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[name] = package.version
        waiting += [_normal(need) for need in _needs(package)]
    return found


def _needs(package: metadata.Distribution) -> Iterable[str]:
    for line in package.requires or ():
        try:
            needed = Requirement(line)
        except InvalidRequirement:
            continue
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            yield needed.name


def _normal(name: str) -> str:
    """A package's name as the index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()
