"""Which source files decide a result: imports are followed, layout and comments do not count."""

from __future__ import annotations

import ast
import shutil
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from vae_likelihoods.store import code as sources
from vae_likelihoods.store.code import closure, digest, module_path

CONF = Path(__file__).parents[2] / "conf"
TRAINING = "vae_likelihoods.recipes.training"
FILES = {
    "__init__.py": '"""A package."""',
    "alone.py": "X = 1",
    "top.py": """
        from __future__ import annotations
        import math, numpy as np
        from typing import TYPE_CHECKING
        from vae_likelihoods.middle import f
        if TYPE_CHECKING:
            from vae_likelihoods.typed import T
        """,
    "typed.py": "class T: pass",
    "middle.py": """
        from vae_likelihoods.room import leaf, NAME
        def f():
            import vae_likelihoods.lazy as lazy
        """,
    "lazy.py": "from vae_likelihoods import alone, top",
    "room/__init__.py": "NAME = 3",
    "room/leaf.py": "import torch",
    "room/unused.py": "",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package made up for the test, in place of the real one."""
    root = tmp_path / "vae_likelihoods"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(textwrap.dedent(text))
    yield from replaced(root, monkeypatch)


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the real package."""
    root = tmp_path / "vae_likelihoods"
    shutil.copytree(sources.ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))
    yield from replaced(root, monkeypatch)


def replaced(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sources, "ROOT", root)
    forget()
    yield root
    forget()


def forget() -> None:
    sources.imports.cache_clear()
    sources._code.cache_clear()


def code(package: Path, text: str) -> str:
    (package / "alone.py").write_text(textwrap.dedent(text))
    forget()
    return digest(["vae_likelihoods.alone"])


def first_party(*names: str) -> list[str]:
    return [f"vae_likelihoods.{name}" for name in names]


def test_closure_follows_imports_also_inside_functions_and_round_in_circles(package: Path) -> None:
    expected = first_party("alone", "lazy", "middle", "room", "room.leaf", "top")
    assert closure(["vae_likelihoods.top"]) == expected


def test_imports_for_type_checking_do_not_count(package: Path) -> None:
    assert "vae_likelihoods.typed" not in closure(["vae_likelihoods.top"])


def test_what_runs_when_not_type_checking_counts(package: Path) -> None:
    (package / "alone.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import vae_likelihoods.typed\n"
        "else:\n    import vae_likelihoods.lazy\n"
    )
    found = closure(["vae_likelihoods.alone"])
    assert "vae_likelihoods.lazy" in found
    assert "vae_likelihoods.typed" not in found


def test_other_packages_are_not_followed(package: Path) -> None:
    assert closure(["torch.optim", "numpy", "vae_likelihoods_other.x", "vae_likelihoods.alone"]) == [
        "vae_likelihoods.alone"
    ]


def test_a_module_that_is_not_there_is_an_error(package: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"vae_likelihoods\.absent"):
        closure(["vae_likelihoods.absent"])


def test_modules_and_packages_have_files(package: Path) -> None:
    assert module_path("vae_likelihoods") == package / "__init__.py"
    assert module_path("vae_likelihoods.alone") == package / "alone.py"
    assert module_path("vae_likelihoods.room") == package / "room" / "__init__.py"
    assert module_path("vae_likelihoods.room.leaf") == package / "room" / "leaf.py"


SAME = '''
    """A docstring."""
    from typing import Any  # a comment


    class A:
        """Another."""

        def f(
            self,
            x: int,
        ) -> Any:
            """And another."""
            return {'k': x + 1}
'''
BARE = """
    from typing import Any
    class A:
        def f(self, x: int) -> Any:
            # one line
            return {"k": (x + 1)}
"""


def test_comments_docstrings_and_layout_do_not_count(package: Path) -> None:
    assert code(package, SAME) == code(package, BARE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x + 1", "x + 2"),
        ("x + 1", "1 + x"),
        ("x: int", "x: int = 0"),
        ("'k'", "'l'"),
        ("class A", "class B"),
        ("return", "x *= 2; return"),
    ],
)
def test_code_counts(package: Path, old: str, new: str) -> None:
    assert old in SAME
    assert code(package, SAME) != code(package, SAME.replace(old, new))


def test_a_string_that_is_no_docstring_counts(package: Path) -> None:
    assert code(package, "def f():\n    x = 1\n    'a'") != code(package, "def f():\n    x = 1\n    'b'")


def test_digest_depends_on_which_module_has_the_code(package: Path) -> None:
    (package / "twin.py").write_text(FILES["alone.py"])
    assert digest(first_party("alone")) != digest(first_party("twin"))
    assert digest(first_party("alone", "typed")) == digest(first_party("typed", "alone"))


def real_targets(group: str) -> dict[str, str]:
    found = {}
    for path in (CONF / group).glob("*.yaml"):
        node = OmegaConf.load(path)
        target = OmegaConf.select(node, "_target_") or OmegaConf.select(node, f"{path.stem}._target_")
        found[path.stem] = target.rpartition(".")[0]
    return found


@pytest.mark.parametrize("group", ["likelihood", "network", "metric"])
def test_the_training_core_names_no_choice(group: str) -> None:
    """So that editing one likelihood leaves the cells of the others valid."""
    core = closure([TRAINING])
    for name, module in real_targets(group).items():
        assert module not in core, name


def test_the_training_core_holds_what_decides_numbers() -> None:
    names = (
        "training.trainer",
        "seeding",
        "cells.build",
        "models.vae",
        "objectives.base",
        "datasets.quantise",
        "likelihoods.base",
    )
    assert {*first_party(*names)} <= {*closure([TRAINING])}


def test_the_training_core_leaves_out_what_decides_no_number() -> None:
    away = first_party(
        "cells.cell",
        "sweeps.stages",
        "sweeps.sweep",
        "tracking.mirror",
        "metrics.bound",
        "inference.bounds",
        "recipes.evaluation",
    )
    assert not {*away} & {*closure([TRAINING])}


@pytest.mark.parametrize(
    ("edited", "changes"),
    [("training/trainer.py", True), ("likelihoods/base.py", True), ("likelihoods/gaussian.py", False)],
)
def test_editing_a_file_changes_the_digests_of_those_who_use_it(
    copied: Path, edited: str, changes: bool
) -> None:
    def core() -> str:
        forget()
        return digest(closure([TRAINING]))

    before = core()
    path = copied / edited
    path.write_text(path.read_text() + "\n\n# a comment\n")
    assert core() == before
    path.write_text(path.read_text() + "\n\nANOTHER = 1\n")
    assert (core() != before) == changes


def each_import(check: Callable[[ast.ImportFrom], bool]) -> list[str]:
    return [
        f"{path.relative_to(sources.ROOT)}:{node.lineno}"
        for path in sources.ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and check(node)
    ]


def test_imports_are_absolute_and_named_so_that_they_can_be_followed() -> None:
    assert each_import(lambda node: node.level > 0) == []
    assert each_import(lambda node: any(alias.name == "*" for alias in node.names)) == []
