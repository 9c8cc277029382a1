"""What a definition says, and to which other definitions it refers: hashes of code, wherever it stands."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from vae_likelihoods.store import modules
from vae_likelihoods.store.modules import Alias, Definition, Module

WHOLE = ""  # stands for all definitions of a module
# Decorators of libraries that keep nothing of what they decorate, nor tell anybody of it.
HARMLESS = {
    *("abstractmethod", "cache", "cached_property", "classmethod", "contextmanager", "dataclass", "final"),
    *("inference_mode", "lru_cache", "no_grad", "overload", "override", "property", "runtime_checkable"),
    *("setter", "staticmethod", "total_ordering", "wraps"),
}


class Place(NamedTuple):
    """Where a definition stands: a module, and a top-level name in it."""

    module: str
    name: str


class External(NamedTuple):
    """Something that is not followed: a library's, a builtin's, a local variable."""

    name: str


@dataclass(frozen=True)
class Text:
    """A piece of code.

    Attributes:
        digest: a hash of what it says, with a number for each definition that it refers to.
        references: these definitions, in the order in which the code names them.
    """

    digest: str
    references: tuple[Place, ...]

    @cached_property
    def own_digest(self) -> str:
        """A hash of what it says, with the names of the definitions that it refers to."""
        return digest_of([self.digest, [place.name for place in self.references]])


def digest_of(content: Any) -> str:
    """Return the sha256 of plain data."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


class Reader:
    """Reads definitions, and finds what names stand for.

    Args:
        packages: top-level packages whose code is followed. So is every module that is no library.
    """

    def __init__(self, packages: frozenset[str]) -> None:
        self.packages = packages
        self._texts: dict[Place, Text] = {}
        self._effects: dict[str, tuple[Text, ...]] = {}
        self._imports: dict[str, tuple[str, ...]] = {}

    def covers(self, name: str) -> bool:
        """Whether the code of a module is followed."""
        path = modules.source_path(name)
        return path is not None and (name.partition(".")[0] in self.packages or not modules.is_library(path))

    def text(self, place: Place) -> Text:
        """Return what a definition says."""
        if place not in self._texts:
            source = self._module(place.module)
            names = sorted(source.definitions) if place.name == WHOLE else [place.name]
            statements = [each for name in names for each in source.definitions[name]]
            self._texts[place] = _Writer(self, source).text(statements)
        return self._texts[place]

    def effects(self, name: str) -> tuple[Text, ...]:
        """Return what a module does on import beyond binding names."""
        if name not in self._effects:
            source = self._module(name)
            statements = [each for each in source.statements if self._has_effect(each, source)]
            self._effects[name] = tuple(_Writer(self, source).text([each]) for each in statements)
        return self._effects[name]

    def imports(self, name: str) -> tuple[str, ...]:
        """Return the modules that are followed and run when a module is imported."""
        if name not in self._imports:
            source = self._module(name)
            statements = (each for each in source.statements if isinstance(each, ast.Import | ast.ImportFrom))
            whole = [each for item in statements for each in modules.imported_modules(item, source.package)]
            every = dict.fromkeys(each for name in whole for each in prefixes(name))
            self._imports[name] = tuple(each for each in every if self.covers(each))
        return self._imports[name]

    def target(
        self, start: Place | Alias | External, names: Sequence[str]
    ) -> tuple[Place | External, list[str]]:
        """Follow attributes from module to module; return where they lead, and those left over."""
        left = list(names)
        while isinstance(start, Alias) and left:
            bound = self.bound(self._module(start.module), left[0])
            if isinstance(bound, External):
                break  # `__getattr__` of the module may answer: then all of it counts
            start = bound
            left.pop(0)
        if isinstance(start, Alias):
            return Place(start.module, WHOLE), left
        if isinstance(start, External):
            return External(".".join([start.name, *left])), []
        return start, left

    def bound(
        self, source: Module, name: str, before: frozenset[Alias] = frozenset()
    ) -> Place | Alias | External:
        """Return what a top-level name of a module stands for; modules that are followed are aliases.

        Args:
            source: the module.
            name: the name.
            before: the imports that led here: `from . import part` in a package leads to itself.
        """
        if name in source.definitions:
            return Place(source.name, name)
        alias = source.aliases.get(name)
        if alias is not None and alias not in before:
            return self.imported(alias, before)
        starred = (
            self.bound(self._module(each), name, before | {Alias(each, name)})
            for each in source.stars
            if self.covers(each) and Alias(each, name) not in before
        )
        for target in starred:
            if not isinstance(target, External):
                return target
        if modules.specification(f"{source.name}.{name}") is not None:
            return self.imported(Alias(f"{source.name}.{name}"))
        return External(name)

    def imported(self, alias: Alias, before: frozenset[Alias] = frozenset()) -> Place | Alias | External:
        """Return what an import stands for."""
        if not self.covers(alias.module):
            return External(f"{alias.module}.{alias.name}" if alias.name else alias.module)
        if alias.name is None:
            return alias
        target = self.bound(self._module(alias.module), alias.name, before | {alias})
        # What a module does not bind, its `__getattr__` may give: then all of the module counts.
        return target if not isinstance(target, External) else Place(alias.module, WHOLE)

    def _module(self, name: str) -> Module:
        source = modules.module(name)
        if source is None:
            raise ModuleNotFoundError(f"{name} is no module written in Python")
        return source

    def _has_effect(self, statement: ast.AST, source: Module) -> bool:
        """Whether a statement does more than bind names."""
        match statement:
            case ast.Expr(value=ast.Constant()):
                return False
            case ast.If(test=test) if ast.unparse(test) == "__name__ == '__main__'":
                return False
            case ast.Expr() | ast.Delete() | ast.Assert() | ast.Raise():
                return True
            case ast.Assign(targets=targets):
                return not all(map(_binds, targets)) or self._runs(statement, source)
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                return not _binds(target) or self._runs(statement, source)
            case ast.ClassDef() if self._is_told_of_subclasses(statement, source):
                return True
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return any(self._registers(each, source) for each in statement.decorator_list)
            case ast.If() | ast.Try() | ast.TryStar() | ast.With() | ast.For() | ast.While() | ast.Match():
                heads = [each for each in ast.iter_child_nodes(statement) if not isinstance(each, ast.stmt)]
                return any(self._calls(each, source) for each in heads) or any(
                    self._has_effect(each, source) for each in _children(statement)
                )
            case _:
                return False

    def _runs(self, node: ast.Assign | ast.AugAssign | ast.AnnAssign, source: Module) -> bool:
        """Whether the value of an assignment is computed for more than the names that it is bound to."""
        if node.value is None or not any(isinstance(each, ast.Call) for each in _evaluated(node.value)):
            return False
        names = modules.bound_names([node])
        unread = all(name.startswith("_") and name not in _read_names(source) for name in names)
        return unread or self._calls(node.value, source)

    def _calls(self, node: ast.AST, source: Module) -> bool:
        """Whether code calls a function that is followed: it may register something."""
        calls = (each.func for each in _evaluated(node) if isinstance(each, ast.Call))
        targets = (self._followed(each, source) for each in calls)
        return any(target is not None and not self._classes(target) for target in targets)

    def _registers(self, decorator: ast.expr, source: Module) -> bool:
        """Whether a decorator may register what it decorates: all but well-known ones of libraries."""
        function = decorator.func if isinstance(decorator, ast.Call) else decorator
        if self._followed(function, source) is not None:
            return True
        return (_chain(function) or [""])[-1] not in HARMLESS

    def _is_told_of_subclasses(self, node: ast.ClassDef, source: Module) -> bool:
        """Whether a base class or a metaclass that is followed runs when the class is defined."""
        if any(self._followed(each.value, source) is not None for each in node.keywords):
            return True
        bases = (self._followed(each, source) for each in node.bases)
        return any(
            any(getattr(each, "name", "") == "__init_subclass__" for each in base.body)
            or self._is_told_of_subclasses(base, self._module(place.module))
            for place in bases
            if place is not None
            for base in self._classes(place)
        )

    def _followed(self, node: ast.expr, source: Module) -> Place | None:
        """Return the definition that a name, or a chain of attributes, stands for, if it is followed."""
        names = _chain(node)
        target = self.target(self.bound(source, names[0]), names[1:])[0] if names else None
        return target if isinstance(target, Place) else None

    def _classes(self, place: Place) -> list[ast.ClassDef]:
        """Return the classes that a definition is."""
        statements = self._module(place.module).definitions.get(place.name, [])
        return [each for each in statements if isinstance(each, ast.ClassDef)]


Scope = Mapping[str, Alias | None]
"""The local names of a function or a class -> what an import in it binds, or None."""


class _ClassScope(dict[str, "Alias | None"]):
    """The names of a class body, which functions within it do not see."""


class _Writer:
    """Writes what code says as nested lists, the definitions that it refers to as numbers.

    Args:
        reader: finds what names stand for.
        source: the module that has the code.
    """

    def __init__(self, reader: Reader, source: Module) -> None:
        self.reader, self.source = reader, source
        self.references: dict[Place, int] = {}

    def text(self, statements: Sequence[ast.stmt]) -> Text:
        """Return top-level statements as a text."""
        written = [self._node(each, ()) for each in statements]
        return Text(digest_of(written), tuple(self.references))

    def _node(self, node: Any, scopes: tuple[Scope, ...]) -> Any:
        match node:
            case ast.Name(ctx=ast.Load()) | ast.Attribute() if names := _chain(node):
                return self._reference(self._start(names[0], scopes), names[1:])
            case ast.Import() | ast.ImportFrom():
                return [self._import(name, alias) for name, alias in self._imports(node).items()]
            case ast.ClassDef():
                body = (*_functions(scopes), _ClassScope(self._scope(node.body)))
                return ["class", node.name, self._outside(node, scopes), self._node(node.body, body)]
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                return self._function(node, scopes)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                bound = modules.bound_names([each.target for each in node.generators])
                return self._fields(node, (*_functions(scopes), dict.fromkeys(bound)))
            case ast.AST():
                return self._fields(node, scopes)
            case list():
                return [self._node(each, scopes) for each in _meaningful(node)]
            case _:
                return repr(node)

    def _function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scopes: tuple[Scope, ...]
    ) -> Any:
        statements: list[Any] = [node.body] if isinstance(node, ast.Lambda) else node.body
        arguments = [each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)]
        body = (*_functions(scopes), {**dict.fromkeys(arguments), **self._scope(statements)})
        kind, name = type(node).__name__, getattr(node, "name", "")
        return [kind, name, self._outside(node, scopes), self._node(statements, body)]

    def _outside(self, node: ast.AST, scopes: tuple[Scope, ...]) -> Any:
        """Write decorators, arguments and bases, which do not see the names of the body."""
        return self._fields(node, scopes, without=("name", "body"))

    def _fields(self, node: ast.AST, scopes: tuple[Scope, ...], without: Sequence[str] = ()) -> Any:
        """Write the fields that say something; which empty ones there are differs between Pythons."""
        skipped = {"ctx", "type_comment", "kind", *without}
        fields = [(name, value) for name, value in ast.iter_fields(node) if name not in skipped]
        shown = [[name, self._node(value, scopes)] for name, value in fields if value not in (None, [])]
        return [type(node).__name__, shown]

    def _start(self, name: str, scopes: tuple[Scope, ...]) -> Place | Alias | External:
        """Return what a name stands for: a local one, or one of the module."""
        for scope in reversed(scopes):
            if name in scope:
                alias = scope[name]
                return External(f"local {name}") if alias is None else self.reader.imported(alias)
        return self.reader.bound(self.source, name)

    def _reference(self, start: Place | Alias | External, names: Sequence[str]) -> Any:
        """Write a chain of attributes after what its first name stands for."""
        end, left = self.reader.target(start, names)
        if isinstance(end, Place):
            return ["refers to", self.references.setdefault(end, len(self.references)), *left]
        return ["name", end.name, *left]

    def _scope(self, body: Sequence[ast.AST]) -> dict[str, Alias | None]:
        """Return the local names of a body, and what imports in it bind."""
        inside = list(_inside(body))
        elsewhere = {name for each in inside if isinstance(each, ast.Global) for name in each.names}
        local: dict[str, Alias | None] = dict.fromkeys(modules.bound_names(body) - elsewhere)
        for each in inside:
            if isinstance(each, ast.Import | ast.ImportFrom):
                local |= self._imports(each)
        return local

    def _imports(self, node: ast.Import | ast.ImportFrom) -> dict[str, Alias]:
        return modules.imported(node, self.source.package)

    def _import(self, name: str, alias: Alias) -> Any:
        target = self.reader.imported(alias)
        return ["import", name, "a module" if isinstance(target, Alias) else self._reference(target, [])]


def _functions(scopes: tuple[Scope, ...]) -> tuple[Scope, ...]:
    return tuple(scope for scope in scopes if not isinstance(scope, _ClassScope))


def _binds(target: ast.expr) -> bool:
    return isinstance(target, ast.Name | ast.Tuple)


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """Yield an expression and what is in it, functions left out: they do not run yet."""
    if not isinstance(node, ast.Lambda | ast.stmt):
        yield node
        for each in ast.iter_child_nodes(node):
            yield from _evaluated(each)


def _read_names(source: Module) -> set[str]:
    """Return the names that are read anywhere in a module."""
    nodes = (node for statement in source.statements for node in ast.walk(statement))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _meaningful(nodes: Sequence[Any]) -> Iterator[Any]:
    """Yield what of a list can change a result: no docstring, no block for type checking."""
    for node in modules.executed(nodes):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not text or not isinstance(node.value.value, str):  # type: ignore[attr-defined]
            yield node


def _inside(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Yield the nodes of a body, those of functions and classes within it left out."""
    for node in body:
        yield node
        if not isinstance(node, Definition | ast.Lambda):
            yield from _inside(list(ast.iter_child_nodes(node)))


def _children(statement: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements in a compound one, also those of its handlers and cases."""
    for node in ast.iter_child_nodes(statement):
        if isinstance(node, ast.stmt):
            yield node
        elif isinstance(node, ast.ExceptHandler | ast.match_case):
            yield from node.body


def _chain(node: ast.AST) -> list[str] | None:
    """Return ``a.b.c`` as its names; None for other expressions."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else None


def prefixes(name: str) -> Iterator[str]:
    """Yield a dotted name, and what is left of it without its last parts.

    Example:
        >>> list(prefixes("a.b.c"))
        ['a.b.c', 'a.b', 'a']
    """
    while name:
        yield name
        name = name.rpartition(".")[0]
