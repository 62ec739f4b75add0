"""The calls in a module, by the full names of the functions: aliases of imports are resolved."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache


def find_calls(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    """Yield each call with the name of its function, as in `subprocess.run` for `from subprocess import run as go`."""
    yield from find_calls_in(tree, tree)


def find_calls_in(tree: ast.Module, part: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Yield each call in a part of a module, such as a function."""
    names = _list_imported_names(tree)
    for node in ast.walk(part):
        if isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            first, dot, rest = function.partition(".")
            yield node, names.get(first, first) + dot + rest


def find_imports(tree: ast.Module) -> Iterator[str]:
    """Yield the full name of each import, `socket` as well as `socket.socket` of `from socket import socket`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@lru_cache(maxsize=1)
def _list_imported_names(tree: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
    return names
