"""Find the templates of messages in source files.

A string literal is a template where the code declares one: as an argument of a parameter, a value of
a field, a variable or a result that is annotated `Text` or `Template`, and as an argument of
`tr`, `mark`, `tr_n` and `counted`. Local names are followed to what is assigned to them.
"""

from __future__ import annotations

import ast
import gc
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_FIELD = re.compile(r"\{[^}]*\}")
_TYPE = re.compile(r"\b(Text|Template)\b")
#: Functions of the window that translate a literal, and functions that only format messages from elsewhere.
_TRANSLATED = {"tr", "mark"}
_SHOWING = {"render", "listed"}
#: Maximum number of names that are followed from a parameter to the literal.
_DEEPEST = 3

#: Parameters that are messages: position and name.
Parameters = list[tuple[int, str]]


@dataclass
class Templates:
    """Templates in the sources: `plain` ones, and `counted` ones with their singular."""

    plain: set[str] = field(default_factory=set)
    counted: dict[str, str] = field(default_factory=dict)
    #: File, line and code of each message that is concatenated before it is translated.
    finished: list[tuple[Path, int, str]] = field(default_factory=list)

    @property
    def every(self) -> set[str]:
        """Return all templates, which each language has to translate."""
        return self.plain | set(self.counted)


@dataclass
class _Declarations:
    """Message parameters by the name of the function or class, and of the method."""

    functions: dict[str, Parameters] = field(default_factory=lambda: defaultdict(list))
    methods: dict[str, Parameters] = field(default_factory=lambda: defaultdict(list))
    #: Names that the module imports, including modules.
    modules: frozenset[str] = frozenset()

    def parameters(self, func: ast.expr) -> Parameters:
        if isinstance(func, ast.Name):
            return self.functions.get(func.id, [])
        if isinstance(func, ast.Attribute):
            if "log" in _name(func.value).lower():
                return []  # a logger
            if isinstance(func.value, ast.Name) and func.value.id in self.modules:
                return self.functions.get(func.attr, [])
            return self.methods.get(func.attr, [])
        return []


def collect(files: Iterable[Path]) -> Templates:
    """Return the templates in these Python files."""
    gc.disable()  # collections would take half of the time
    try:
        trees = {file: ast.parse(file.read_text("utf-8")) for file in files}
        return _collect(trees)
    finally:
        gc.enable()


def _collect(trees: Mapping[Path, ast.Module]) -> Templates:
    public = _Declarations()
    private = {file: _Declarations() for file in trees}
    for file, tree in trees.items():
        _declare(tree, public, private[file])
    templates = Templates()
    for file, tree in trees.items():
        declarations = _Declarations(
            {**public.functions, **private[file].functions},
            {**public.methods, **private[file].methods},
        )
        imported = list(_imports(tree))
        for name, alias in imported:
            declarations.functions[alias] = public.functions.get(name, [])
        declarations.modules = frozenset(alias for _, alias in imported)
        _Collector(file, declarations, templates).collect(tree)
    return templates


def _declare(tree: ast.Module, public: _Declarations, private: _Declarations) -> None:
    for owner, node in _definitions(tree):
        declarations = private if node.name.startswith("_") and node.name != "__init__" else public
        if isinstance(node, ast.ClassDef):
            fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
            messages = [
                (position, item.target.id)
                for position, item in enumerate(fields)
                if _is_message(item.annotation) and isinstance(item.target, ast.Name)
            ]
            declarations.functions[node.name] += messages
            continue
        messages = _parameters(node, is_method=owner is not None)
        if node.name == "__init__" and owner is not None:
            declarations = private if owner.startswith("_") else public
            declarations.functions[owner] += messages
        elif owner is None:
            declarations.functions[node.name] += messages
        elif messages:
            declarations.methods[node.name] += messages
    for name in _SHOWING:
        public.functions.pop(name, None)


def _definitions(
    node: ast.AST, owner: str | None = None
) -> Iterator[tuple[str | None, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    """Yield each function and class with the class around it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield owner, child
            yield from _definitions(child, child.name if isinstance(child, ast.ClassDef) else None)
        elif not isinstance(child, ast.expr):
            yield from _definitions(child, owner)


def _imports(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the names that a module imports, and their local names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom):
            yield from ((name.name, name.asname or name.name) for name in child.names)
        elif not isinstance(child, ast.expr):
            yield from _imports(child)


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef, is_method: bool) -> Parameters:
    arguments = [*node.args.posonlyargs, *node.args.args]
    is_static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
    first = 1 if is_method and not is_static else 0
    positional = [
        (position - first, argument.arg)
        for position, argument in enumerate(arguments)
        if _is_message(argument.annotation)
    ]
    keywords = [
        (-1, argument_node.arg)
        for argument_node in node.args.kwonlyargs
        if _is_message(argument_node.annotation)
    ]
    return positional + keywords


def _is_message(annotation: ast.expr | None) -> bool:
    if annotation is None:
        return False
    names = (getattr(node, "id", getattr(node, "value", None)) for node in ast.walk(annotation))
    return any(isinstance(name, str) and _TYPE.search(name) for name in names)


class _Collector(ast.NodeVisitor):
    """Visits one module and adds its templates."""

    def __init__(self, file: Path, declarations: _Declarations, templates: Templates) -> None:
        self._file = file
        self._declarations = declarations
        self._templates = templates
        self._scopes: list[dict[str, list[ast.expr]]] = []
        self._returned: ast.expr | None = None

    def collect(self, tree: ast.Module) -> None:
        self._scopes = [_assignments(tree, nested=False)]
        self.visit(tree)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = self._returned
        self._returned = node.returns
        self._scopes.append(_assignments(node, nested=True))
        arguments = [*node.args.posonlyargs, *node.args.args]
        defaults = list(zip(reversed(arguments), reversed(node.args.defaults), strict=False))
        for argument, default in [*defaults, *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]:  # fmt: skip
            if default is not None and _is_message(argument.annotation):
                self._add(default)
        self.generic_visit(node)
        self._scopes.pop()
        self._returned = outer

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None:
            self._add_typed(node.value, self._returned)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None and _is_message(node.annotation):
            self._add_typed(node.value, node.annotation)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = _name(node.func)
        if name in ("counted", "tr_n"):
            strings = [a.value for a in node.args if isinstance(a, ast.Constant)]
            forms = [value for value in strings if isinstance(value, str)]
            if len(forms) > 1:
                self._templates.counted[forms[1]] = forms[0]
        elif name in _TRANSLATED and isinstance(node.func, ast.Name):
            self._add_literals(node.args[0])
        else:
            for position, keyword in self._declarations.parameters(node.func):
                if 0 <= position < len(node.args):
                    self._add(node.args[position])
                for named in node.keywords:
                    if named.arg == keyword:
                        self._add(named.value)
        self.generic_visit(node)

    def _add_literals(self, node: ast.expr) -> None:
        """Add the literals in calls of translating functions."""
        if isinstance(node, ast.IfExp):
            self._add_literals(node.body)
            self._add_literals(node.orelse)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            self._templates.plain.add(node.value)

    def _add_typed(self, node: ast.expr, annotation: ast.expr | None) -> None:
        """Add the literals in the parts of a value that its type declares as messages."""
        if annotation is None or not _is_message(annotation):
            return
        match node, annotation:
            case ast.IfExp(body=body, orelse=orelse), _:
                self._add_typed(body, annotation)
                self._add_typed(orelse, annotation)
            case (
                ast.Dict(keys=keys, values=values),
                ast.Subscript(slice=ast.Tuple(elts=[key_type, value_type])),
            ):
                for key, value in zip(keys, values, strict=True):
                    if key is not None:
                        self._add_typed(key, key_type)
                    self._add_typed(value, value_type)
            case ast.List(elts=parts), ast.Subscript(value=ast.Name(id="list"), slice=item_type):
                for part in parts:
                    self._add_typed(part, item_type)
            case (
                ast.Tuple(elts=parts),
                ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=types)),
            ):
                is_open = isinstance(types[-1], ast.Constant)
                for part, part_type in zip(
                    parts, types[:1] * len(parts) if is_open else types, strict=False
                ):
                    self._add_typed(part, part_type)
            case _:
                self._add(node)

    def _add(self, node: ast.expr, depth: int = 0) -> None:
        """Add the literals that an expression can be."""
        match node:
            case ast.Constant(value=str(literal)):
                if any(sign.isalpha() or sign in "“”" for sign in _FIELD.sub("", literal)):
                    self._templates.plain.add(literal)
            case ast.JoinedStr() | ast.BinOp(op=ast.Add() | ast.Mod()):
                self._templates.finished.append((self._file, node.lineno, ast.unparse(node)))
            case ast.Name(id=name) if depth < _DEEPEST:
                for scope in reversed(self._scopes):
                    if name in scope:
                        for value in scope[name]:
                            self._add(value, depth + 1)
                        break
            case _:
                for part in _alternatives(node):
                    self._add(part, depth)


def _alternatives(node: ast.expr) -> list[ast.expr]:
    """Return the parts of an expression that can be its value or one of its items."""
    match node:
        case ast.IfExp(body=body, orelse=orelse):
            return [body, orelse]
        case (
            ast.BoolOp(values=parts)
            | ast.Tuple(elts=parts)
            | ast.List(elts=parts)
            | ast.Set(elts=parts)
        ):
            return parts
        case ast.Dict(values=parts):
            return parts
        case ast.Starred(value=value) | ast.Subscript(value=value) | ast.NamedExpr(value=value):
            return [value]
        case ast.Call(func=ast.Attribute(value=table, attr="get"), args=[_, *fallback]):
            return [table, *fallback]
        case ast.Call(func=ast.Name(id="next"), args=[_, fallback]):
            return [fallback]
        case ast.Call(func=ast.Name(id="field" | "Field"), keywords=keywords):
            return [keyword.value for keyword in keywords if keyword.arg == "default"]
        case ast.Call(func=ast.Name(id="MappingProxyType" | "frozenset" | "dict"), args=[table]):
            return [table]
    return []


def _assignments(scope: ast.AST, nested: bool) -> dict[str, list[ast.expr]]:
    """Return the values assigned to each name in a module, or in a function and its inner functions."""
    values: dict[str, list[ast.expr]] = defaultdict(list)
    for node in ast.walk(scope) if nested else ast.iter_child_nodes(scope):
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    for name, part in _pairs(target, value):
                        values[name].append(part)
            case (
                ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                | ast.NamedExpr(target=ast.Name(id=name), value=value)
            ):
                values[name].append(value)
    return values


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for element, part in zip(target.elts, value.elts, strict=False):
            yield from _pairs(element, part)


def _name(func: ast.expr) -> str:
    return func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
