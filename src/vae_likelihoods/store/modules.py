"""Python modules as source text: where they lie, and what their top-level names stand for. Imports none."""

from __future__ import annotations

import ast
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Import = ast.Import | ast.ImportFrom
Compound = ast.If | ast.Try | ast.TryStar | ast.With | ast.For | ast.While | ast.Match


@dataclass(frozen=True)
class Alias:
    """What an import binds a name to: a module, or a name in it."""

    module: str
    name: str | None = None


@dataclass
class Module:
    """A parsed module.

    Attributes:
        name: in full, such as ``vae_likelihoods.units``.
        path: its file.
        definitions: name -> the statements that bind it, in order; also its imports, if it is bound again.
        aliases: name -> what an import binds it to.
        stars: modules whose names are all imported.
        statements: everything that runs on import, blocks for type checking left out.
    """

    name: str
    path: Path
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    aliases: dict[str, Alias] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    statements: list[ast.stmt] = field(default_factory=list)

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


@cache
def specification(name: str) -> ModuleSpec | None:
    """Return where a module lies, without importing it or its packages; None if there is no such module."""
    parent, _, _ = name.rpartition(".")
    if not parent:
        return importlib.util.find_spec(name) if name not in sys.builtin_module_names else None
    above = specification(parent)
    if above is None or above.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(name, list(above.submodule_search_locations))


def source_path(name: str) -> Path | None:
    """Return the file of a module that is written in Python; None for all others."""
    spec = specification(name)
    origin = spec.origin if spec is not None else None
    return Path(origin) if origin is not None and origin.endswith(".py") else None


@cache
def is_library(path: Path) -> bool:
    """Whether a file belongs to Python itself or to an installed package, in whatever folder it is."""
    standard = [Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "platstdlib")]
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return (
        bool(installed)
        or any(path.resolve().is_relative_to(folder) for folder in standard)
        or any(path.relative_to(folder).parts[0] in installed_in(folder) for folder in path.parents)
    )


@cache
def installed_in(folder: Path) -> frozenset[str]:
    """Return the files and folders that pip installed in a folder, such as one of `pip install --target`."""
    records = folder.glob("*.dist-info/RECORD")
    lines = (line for record in records for line in record.read_text(encoding="utf-8").splitlines())
    return frozenset(line.partition("/")[0].partition(",")[0] for line in lines)


@cache
def module(name: str) -> Module | None:
    """Parse a module; None if it is no Python source."""
    path = source_path(name)
    if path is None:
        return None
    parsed = Module(name, path)
    tree = ast.parse(path.read_bytes())
    parsed.statements = list(executed(tree.body))
    for statement in parsed.statements:
        _bind(statement, parsed)
    for statement in (each for each in parsed.statements if isinstance(each, Import)):
        for name in parsed.definitions.keys() & imported(statement, parsed.package).keys():
            parsed.definitions[name].append(statement)  # such as `f` in `f = cache(f)`
    return parsed


def forget() -> None:
    """Forget all parsed modules: for processes in which sources change."""
    module.cache_clear()
    specification.cache_clear()
    is_library.cache_clear()
    installed_in.cache_clear()


def executed(statements: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements, those that only a type checker reads left out."""
    for statement in statements:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) in _TYPE_CHECKING:
            yield from executed(statement.orelse)
        else:
            yield statement


_TYPE_CHECKING = ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imported(statement: ast.Import | ast.ImportFrom, package: str) -> dict[str, Alias]:
    """Return what an import statement binds; a star is bound to its module."""
    if isinstance(statement, ast.Import):
        # `import a.b` binds `a`, `import a.b as c` binds `a.b`.
        return {
            each.asname or each.name.partition(".")[0]: Alias(
                each.name if each.asname else each.name.partition(".")[0]
            )
            for each in statement.names
        }
    source = absolute(statement.module or "", statement.level, package)
    return {
        each.asname or each.name: Alias(source, None if each.name == "*" else each.name)
        for each in statement.names
    }


def imported_modules(statement: ast.Import | ast.ImportFrom, package: str) -> list[str]:
    """Return the modules that an import statement may run; of `from a import b` both `a` and `a.b`."""
    if isinstance(statement, ast.Import):
        return [each.name for each in statement.names]
    source = absolute(statement.module or "", statement.level, package)
    return [source, *(f"{source}.{each.name}" for each in statement.names if each.name != "*")]


def absolute(name: str, level: int, package: str) -> str:
    """Return the full name of a module that is imported with `level` leading dots."""
    if not level:
        return name
    above = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*above, name] if name else above)


def _bind(statement: ast.stmt, parsed: Module) -> None:
    if isinstance(statement, Import):
        for name, alias in imported(statement, parsed.package).items():
            if name == "*":
                parsed.stars.append(alias.module)
            else:
                parsed.aliases[name] = alias
        return
    for name in sorted(bound_names([statement])):
        parsed.definitions.setdefault(name, []).append(statement)


def bound_names(nodes: Sequence[ast.AST]) -> set[str]:
    """Return the names that are bound where `nodes` run, in functions and classes within them not."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, Definition):
            names.add(node.name)
            inner: Iterator[ast.AST] = iter(node.decorator_list)
        elif isinstance(node, ast.Lambda):
            continue
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            # Only an assignment expression reaches out of a comprehension.
            walrus = (each.target for each in ast.walk(node) if isinstance(each, ast.NamedExpr))
            inner = iter(walrus)
        else:
            names |= _names_of(node)
            inner = ast.iter_child_nodes(node)
        names |= bound_names(list(inner))
    return names


def _names_of(node: ast.AST) -> set[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return {name}
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return {name}
        case ast.MatchMapping(rest=str(name)):
            return {name}
        case ast.Import() | ast.ImportFrom():
            return set(imported(node, "")) - {"*"}
        case _:
            return set()
