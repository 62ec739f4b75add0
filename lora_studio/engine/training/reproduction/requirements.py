"""The libraries that a script needs and their dependencies, at the versions in use."""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from lora_studio.core.system.packages import resolve_closure

#: Packages that every generated script imports, directly or through transformers.
_ALWAYS = ("accelerate", "numpy", "peft", "safetensors", "torch", "transformers")


def list_locked_requirements(
    modules: Iterable[str] = (), versions: Mapping[str, str] | None = None
) -> str:
    """Return a requirements file of exact versions; `modules` are additional import names.

    `versions` are those of packages that may not be installed here, by name. Local version labels such as
    +cu128 are left out: they name a build, not different code.
    """
    pinned = [f"{name}=={version}" for name, version in (versions or {}).items()]
    lines = [
        f"# Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        *sorted({*_list_versions(frozenset(modules)), *pinned}),
    ]
    return "\n".join(lines) + "\n"


@functools.cache  # reads the metadata of a hundred packages, which don't change within a process
def _list_versions(modules: frozenset[str]) -> tuple[str, ...]:
    owners = _get_owners()
    roots = {*_ALWAYS, *(owner for module in modules for owner in owners.get(module, ()))}
    packages = sorted(resolve_closure(roots, _get_dependencies).items())
    return tuple(f"{name}=={Version(package.version).public}" for name, package in packages)


@functools.cache  # takes half a second, and doesn't change within a process
def _get_owners() -> Mapping[str, list[str]]:
    """Return the packages that provide each import name."""
    return metadata.packages_distributions()


def _get_dependencies(package: metadata.Distribution) -> Iterable[str]:
    for line in package.requires or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name
