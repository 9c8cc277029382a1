"""Which first-party source files decide a result, found by following imports."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = "vae_likelihoods"
ROOT = Path(__file__).resolve().parents[1]


def module_path(module: str) -> Path:
    """Return the file of a first-party module, such as ``vae_likelihoods.training.trainer``.

    Raises:
        ModuleNotFoundError: if the package has no such module.
    """
    base = ROOT.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    raise ModuleNotFoundError(module)


def closure(modules: Iterable[str]) -> list[str]:
    """Return `modules` and every first-party module they import, directly or not, sorted.

    Packages' ``__init__`` files count only when something is imported from them by name: they hold no code.
    """
    found: set[str] = set()
    waiting = [module for module in modules if _first_party(module)]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += imports(module_path(module))
    return sorted(found)


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Return the first-party modules that a source file imports, those for type checking apart."""
    names: set[str] = set()
    for node in _executed(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if _first_party(alias.name)}
        elif isinstance(node, ast.ImportFrom) and node.module and _first_party(node.module):
            names |= {_module_of(node.module, alias.name) for alias in node.names}
    return tuple(sorted(names))


def digest(modules: Iterable[str]) -> str:
    """Return a sha256 over the code of `modules`; comments, docstrings and layout do not count."""
    total = hashlib.sha256()
    for module in sorted(modules):
        total.update(f"{module}:{_code(module_path(module))}\n".encode())
    return total.hexdigest()


@cache
def _code(path: Path) -> str:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk the tree without the blocks that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _executed(ast.Module(node.orelse, type_ignores=[]))
        else:
            yield node
            yield from _executed(node)


def _first_party(module: str) -> bool:
    return module == PACKAGE or module.startswith(PACKAGE + ".")


def _module_of(package: str, name: str) -> str:
    """Return the module that ``from package import name`` reads."""
    try:
        module_path(f"{package}.{name}")
    except ModuleNotFoundError:
        return package
    return f"{package}.{name}"
