"""Which modules of the project a file imports, read from its source."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from vae_likelihoods.store.modules import executed, imported_modules, source_path

PACKAGE = "vae_likelihoods"


def closure(paths: Iterable[Path]) -> set[Path]:
    """Return the files of all first-party modules that `paths` import, in functions too, directly or not."""
    waiting, files = list(paths), set()
    for path in waiting:  # grows meanwhile
        for imported in imports(path):
            if imported not in files:
                files.add(imported)
                waiting.append(imported)
    return files


@cache
def imports(path: Path) -> tuple[Path, ...]:
    """Return the files of the first-party modules that a file imports, those for type checking apart."""
    names = {
        name
        for node in _runtime(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imported_modules(node, "")
        if name.startswith(f"{PACKAGE}.")  # the package itself holds no code
    }
    return tuple(file for name in sorted(names) if (file := source_path(name)) is not None)


def _runtime(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and all within it, but for blocks that only a type checker reads."""
    yield node
    for _, value in ast.iter_fields(node):
        children = value if isinstance(value, list) else [value]
        nodes = [child for child in children if isinstance(child, ast.AST)]
        statements = [child for child in nodes if isinstance(child, ast.stmt)]
        kept = list(executed(statements)) if statements else nodes
        for child in kept:
            yield from _runtime(child)
