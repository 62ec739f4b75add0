"""The libraries that a script needs and their dependencies, at the versions in use."""

from __future__ import annotations

import functools
import platform
import re
from collections.abc import Iterable, Mapping
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

#: Packages that every generated script imports, directly or through transformers.
_ALWAYS = ("accelerate", "numpy", "peft", "safetensors", "torch", "transformers")


def list_locked_requirements(modules: Iterable[str] = ()) -> str:
    """Return a requirements file of exact versions; `modules` are additional import names.

    Local version labels such as +cu128 are left out: they name a build, not different code.
    """
    owners = _get_owners()
    roots = {*_ALWAYS, *(owner for module in modules for owner in owners.get(module, ()))}
    versions = sorted(_resolve_closure(roots).items())
    lines = [
        f"# Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        *(f"{name}=={Version(version).public}" for name, version in versions),
    ]
    return "\n".join(lines) + "\n"


@functools.cache  # takes half a second, and doesn't change within a process
def _get_owners() -> Mapping[str, list[str]]:
    """Return the packages that provide each import name."""
    return metadata.packages_distributions()


def _resolve_closure(roots: Iterable[str]) -> dict[str, str]:
    """Return the versions of packages and of their dependencies; absent ones are left out."""
    versions: dict[str, str] = {}
    pending = [_normalize(name) for name in roots]
    while pending:
        name = pending.pop()
        if name in versions:
            continue
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        versions[name] = package.version
        pending += [_normalize(dependency) for dependency in _get_dependencies(package)]
    return versions


def _get_dependencies(package: metadata.Distribution) -> Iterable[str]:
    for line in package.requires or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def _normalize(name: str) -> str:
    """Return a package's name as the package index spells it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
