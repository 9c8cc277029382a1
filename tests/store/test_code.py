"""Which code decides a result: definitions are followed by name, wherever they stand."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from vae_likelihoods.files import PROJECT
from vae_likelihoods.store import code
from vae_likelihoods.store.code import reached
from vae_likelihoods.store.definitions import External, Place, Reader

TRAINING = "vae_likelihoods.recipes.training.train"
NUMBERS = count()

# A package whose entry point is `run.run`.
FILES = {
    "__init__.py": '"""A package."""',
    "run.py": """
        from __future__ import annotations
        import math
        from typing import TYPE_CHECKING
        from PACKAGE import rooms
        from PACKAGE.laws import Law as Chosen, rate as how_fast
        if TYPE_CHECKING:
            from PACKAGE.unused import Typed
        LIMIT = 3
        def run(model: Typed, law: Chosen) -> float:
            import PACKAGE.lazy as later
            size = math.floor(rooms.space(LIMIT))
            return law.mean() + how_fast(later.wait(size)) + sum(scale for scale in (1, 2))
        def never() -> int:
            return 1
        """,
    "laws.py": """
        from dataclasses import dataclass
        from PACKAGE.base import Base
        FACTOR = 2.5
        @dataclass
        class Law(Base):
            width: int = 4
            def mean(self) -> float:
                return self.width * FACTOR
        def rate(x: int) -> float:
            return helper(x)
        def helper(x: int) -> float:
            return x / 7
        """,
    "base.py": """
        class Base:
            'The base.'
            order = 1
        """,
    "rooms/__init__.py": "from PACKAGE.rooms.space import space",
    "rooms/space.py": """
        def space(limit: int) -> float:
            # A helper of the same name as in laws.
            return helper(limit)
        def helper(limit: int) -> float:
            return limit + 0.5
        """,
    "lazy.py": """
        scale = 9
        def wait(x: int) -> int:
            return x
        """,
    "unused.py": "class Typed: pass",
}


def package(folder: Path, changes: Mapping[str, str | None] | None = None) -> str:
    """Write the package, with some files changed or left out, under a name of its own; return the name."""
    name = f"clockwork_{next(NUMBERS)}"
    for path, text in {**FILES, **(changes or {})}.items():
        if text is not None:
            target = folder / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(textwrap.dedent(text).replace("PACKAGE", name))
    importlib.invalidate_caches()
    return name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    code.forget()


def digest(folder: Path, changes: Mapping[str, str | None] | None = None, entry: str = "run.run") -> str:
    return reached(f"{package(folder, changes)}.{entry}").digest


def edited(path: str, old: str, new: str) -> dict[str, str]:
    assert old in FILES[path]
    return {path: FILES[path].replace(old, new)}


SAME = {
    "another name of the package": {},
    "a comment": edited("laws.py", "return helper(x)", "return helper(x)  # why not"),
    "layout": edited("laws.py", "return helper(x)", "return (\n                helper(x)\n            )"),
    "a docstring": edited("base.py", "The base.", "Something else."),
    "a docstring more": edited("lazy.py", "return x", "'Wait.'\n            return x"),
    "a text that nothing reads": edited("lazy.py", "scale = 9", "scale = 9\n        'A scale.'"),
    "a function that is not called": edited("run.py", "return 1", "return 2"),
    "a constant that only looks as if it were used": edited("lazy.py", "scale = 9", "scale = 10"),
    "a name for type checking": {"unused.py": "class Typed: size = 3"},
    "an import under another name": {
        "run.py": FILES["run.py"].replace("how_fast", "speed").replace("Chosen", "Law")
    },
    "an import of the module": {
        "run.py": FILES["run.py"]
        .replace("from PACKAGE.laws import Law as Chosen, rate as how_fast", "import PACKAGE.laws")
        .replace("Chosen", "PACKAGE.laws.Law")
        .replace("how_fast", "PACKAGE.laws.rate")
    },
    "a relative import": edited("rooms/__init__.py", "from PACKAGE.rooms.space", "from .space"),
    "a star": edited("rooms/__init__.py", "import space", "import *"),
    "another way to a library": {
        "run.py": FILES["run.py"]
        .replace("import math", "from math import floor")
        .replace("math.floor", "floor")
    },
    "a module that was renamed": {
        "laws.py": None,
        "distributions.py": FILES["laws.py"],
        "run.py": FILES["run.py"].replace("PACKAGE.laws", "PACKAGE.distributions"),
    },
    "a module that became a package": {
        "laws.py": None,
        "laws/__init__.py": "from PACKAGE.laws.inner import Law, rate",
        "laws/inner.py": FILES["laws.py"],
    },
    "a definition that moved": {
        "laws.py": FILES["laws.py"]
        .split("def helper")[0]
        .replace("FACTOR =", "from PACKAGE.help import helper\n        FACTOR ="),
        "help.py": "def helper(x: int) -> float:\n    return x / 7",
    },
    "an order of definitions": {
        "lazy.py": "def wait(x: int) -> int:\n    return x\nscale = 9",
    },
    "a block for type checking in a function": edited(
        "lazy.py", "return x", "if TYPE_CHECKING:\n                import json\n            return x"
    ),
    "a script at the end": {
        "lazy.py": FILES["lazy.py"] + "\n        if __name__ == '__main__':\n            print(wait(1))"
    },
}

OTHER = {
    "a constant": edited("laws.py", "2.5", "2.6"),
    "a constant that is passed on": edited("run.py", "LIMIT = 3", "LIMIT = 4"),
    "a helper's helper": edited("laws.py", "x / 7", "x / 8"),
    "an operator": edited("laws.py", "self.width * FACTOR", "self.width + FACTOR"),
    "the order of a product": edited("laws.py", "self.width * FACTOR", "FACTOR * self.width"),
    "a base class": edited("base.py", "order = 1", "order = 2"),
    "a base class more": edited("laws.py", "class Law(Base)", "class Law(Base, float)"),
    "a default": edited("laws.py", "width: int = 4", "width: int = 5"),
    "a decorator": edited("laws.py", "@dataclass", "@dataclass(frozen=True)"),
    "a name": edited("laws.py", "def mean", "def middle"),
    "what a function imports": edited("lazy.py", "return x", "return x + 1"),
    "a module of another package": edited("rooms/space.py", "limit + 0.5", "limit + 0.25"),
    "a library's function": edited("run.py", "math.floor", "math.ceil"),
    "where a helper of the same name is from": edited(
        "laws.py",
        "def helper(x: int) -> float:\n            return x / 7",
        "from PACKAGE.rooms.space import helper",
    ),
    "a global that a function binds": edited(
        "run.py", "size =", "global LIMIT\n            LIMIT = 5\n            size ="
    ),
    "what a module does on import": edited("base.py", "order = 1", "order = 1\n        Base.order = 7"),
    "what a module does that is only imported": {
        "run.py": FILES["run.py"].replace("import math", "import math\n        import PACKAGE.patches"),
        "patches.py": "import math\nmath.floor = math.ceil",
    },
    "what the package does on import": {"__init__.py": "print('ready')"},
    "a condition on import": edited(
        "laws.py",
        "FACTOR = 2.5",
        "try:\n            FACTOR = 2.5\n        except ValueError:\n            FACTOR = 3",
    ),
}


@pytest.mark.parametrize("imports", ["from . import space", "from PACKAGE.rooms import space"])
def test_a_package_that_imports_its_own_parts_is_followed(folder: Path, imports: str) -> None:
    files = {
        "rooms/__init__.py": imports,
        "run.py": FILES["run.py"].replace("rooms.space(LIMIT)", "rooms.space.space(LIMIT)"),
    }
    edit = {"rooms/space.py": FILES["rooms/space.py"].replace("limit + 0.5", "limit + 0.25")}
    assert digest(folder, files) != digest(folder, {**files, **edit})


def test_imports_in_a_circle_end(folder: Path) -> None:
    files = {"laws.py": "from PACKAGE.base import run", "base.py": "from PACKAGE.laws import run"}
    with pytest.raises(ModuleNotFoundError, match="defines no such thing"):
        digest(folder, files, entry="laws.run")


def test_a_package_that_pip_installed_in_any_folder_is_a_library(folder: Path) -> None:
    name = package(folder)
    reader = Reader(frozenset())
    assert reader.covers(f"{name}.laws")
    record = folder / "clockwork-1.0.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text(f"{name}/laws.py,sha256=0,0\n")
    code.forget()
    assert not reader.covers(f"{name}.laws")


# Files, and an edit of one of them, after which the digest must be another one.
EDITS = {
    "what a name is bound to again after its import": (
        {
            "run.py": """
                import functools
                from PACKAGE.laws import rate
                rate = functools.cache(rate)
                def run(x):
                    return rate(x)
                """
        },
        ("laws.py", "helper(x)", "helper(x) + 1"),
    ),
    "what a name is bound to before its import": (
        {
            "run.py": """
                rate = None
                from PACKAGE.laws import rate
                def run(x):
                    return rate(x)
                """
        },
        ("laws.py", "helper(x)", "helper(x) + 1"),
    ),
    "a call whose result is given a name that nobody reads": (
        {"base.py": FILES["base.py"] + "\n        import sys\n        _old = sys.setrecursionlimit(100)"},
        ("base.py", "100", "200"),
    ),
    "a call of a function of one's own whose result is given a name": (
        {"base.py": FILES["base.py"] + "\n        from PACKAGE.lazy import wait\n        TIME = wait(3)"},
        ("base.py", "wait(3)", "wait(4)"),
    ),
    "a call in the condition of a block": (
        {
            "base.py": FILES["base.py"]
            + "\n        from PACKAGE.lazy import wait\n        if wait(3):\n            X = 1"
        },
        ("base.py", "wait(3)", "wait(4)"),
    ),
    "a class of whose definition its base class is told": (
        {
            "base.py": """
                KNOWN = []
                class Base:
                    order = 1
                    def __init_subclass__(cls):
                        KNOWN.append(cls)
                """,
            "lazy.py": """
                from PACKAGE.laws import Law
                class Late(Law):
                    width = 7
                def wait(x):
                    return x
                """,
        },
        ("lazy.py", "width = 7", "width = 8"),
    ),
    "a class with a metaclass of one's own": (
        {
            "base.py": """
                KNOWN = []
                class Meta(type):
                    def __init__(cls, *arguments):
                        KNOWN.append(cls)
                class Base:
                    order = 1
                """,
            "lazy.py": """
                from PACKAGE.base import Meta
                class Late(metaclass=Meta):
                    width = 7
                def wait(x):
                    return x
                """,
        },
        ("lazy.py", "width = 7", "width = 8"),
    ),
    "a function that a library registers": (
        {
            "lazy.py": """
                import atexit
                @atexit.register
                def leave():
                    return 7
                def wait(x):
                    return x
                """
        },
        ("lazy.py", "return 7", "return 8"),
    ),
    "a name that the module makes when it is asked for": (
        {
            "run.py": """
                from PACKAGE.lazy import made_up
                def run():
                    return made_up
                """,
            "lazy.py": """
                scale = 7
                def __getattr__(name):
                    return scale
                """,
        },
        ("lazy.py", "scale = 7", "scale = 8"),
    ),
}


@pytest.mark.parametrize("case", EDITS)
def test_what_runs_on_import_counts_however_it_is_written(folder: Path, case: str) -> None:
    files, (path, old, new) = EDITS[case]
    text = files.get(path, FILES[path])
    assert old in text
    assert digest(folder, {**files, path: text.replace(old, new)}) != digest(folder, files)


@pytest.mark.parametrize("change", SAME)
def test_where_the_code_stands_and_how_it_is_laid_out_does_not_count(folder: Path, change: str) -> None:
    assert digest(folder, SAME[change]) == digest(folder)


@pytest.mark.parametrize("change", OTHER)
def test_what_the_code_says_counts(folder: Path, change: str) -> None:
    assert digest(folder, OTHER[change]) != digest(folder)


def test_changes_of_one_place_are_told_apart(folder: Path) -> None:
    assert len({digest(folder, change) for change in OTHER.values()}) == len(OTHER)


def test_two_helpers_that_change_places_are_another_computation(folder: Path) -> None:
    one = {
        "run.py": """
            from PACKAGE.laws import helper as a
            from PACKAGE.rooms.space import helper as b
            def run():
                return a(1) - b(2)
            """
    }
    other = {"run.py": one["run.py"].replace("as a", "as c").replace("as b", "as a").replace("as c", "as b")}
    assert digest(folder, one) != digest(folder, other)


def test_functions_that_call_each_other_are_followed_once(folder: Path) -> None:
    circle = "def run(x): return other(x - 1)\ndef other(x): return run(x) if x else STOP\nSTOP = 1"
    name = package(folder, {"run.py": circle})
    found = reached(f"{name}.run.run")
    assert [place.partition(":")[2] for place in found.definitions] == ["STOP", "other", "run"]
    assert digest(folder, {"run.py": circle.replace("x - 1", "x - 2")}) != found.digest


def test_a_decorator_of_our_own_may_register_and_counts(folder: Path) -> None:
    registry = "KNOWN = {}\ndef register(f):\n    KNOWN[f.__name__] = f\n    return f"
    run = "from PACKAGE.registry import KNOWN\nimport PACKAGE.parts\ndef run(): return KNOWN['part']()"
    files = {
        "registry.py": registry,
        "run.py": run,
        "parts.py": "from PACKAGE.registry import register\n@register\ndef part(): return 1",
    }
    assert digest(folder, files) != digest(folder, {**files, "parts.py": files["parts.py"].replace("1", "2")})


def test_a_module_that_is_handed_on_counts_as_a_whole(folder: Path) -> None:
    run = {"run.py": "from PACKAGE import lazy\ndef run(): return vars(lazy)"}
    assert digest(folder, run) != digest(folder, {**run, **edited("lazy.py", "scale = 9", "scale = 10")})


def test_a_name_that_a_module_makes_up_counts_as_the_whole_module(folder: Path) -> None:
    run = {"run.py": "from PACKAGE import lazy\ndef run(): return lazy.made_up"}
    assert digest(folder, run) != digest(folder, {**run, **edited("lazy.py", "scale = 9", "scale = 10")})


def test_local_names_hide_those_of_the_module(folder: Path) -> None:
    files = {
        "run.py": """
            scale, other, third, fourth = 1, 2, 3, 4
            def run(scale, *other, **third):
                fourth = [scale for scale in other]
                return lambda scale: (scale, third, fourth)
            """
    }
    name = package(folder, files)
    assert list(reached(f"{name}.run.run").definitions) == [f"{name}.run:run"]


def test_names_of_a_class_body_are_not_those_of_its_methods(folder: Path) -> None:
    files = {"run.py": "scale = 1\nclass run:\n    scale = 2\n    def f(self): return scale"}
    name = package(folder, files)
    assert f"{name}.run:scale" in reached(f"{name}.run.run").definitions


def test_entries_in_another_order_are_another_computation(folder: Path) -> None:
    name = package(folder)
    entries = [f"{name}.laws.helper", f"{name}.rooms.space.helper"]
    assert reached(*entries).digest != reached(*reversed(entries)).digest


def test_an_entry_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="defines no such thing"):
        reached(f"{package(folder)}.run.walk")


def test_libraries_are_not_followed_but_somebodys_own_package_is(folder: Path) -> None:
    reader = Reader(frozenset({"vae_likelihoods"}))
    assert reader.covers("vae_likelihoods.units")
    assert reader.covers(f"{package(folder)}.run")
    assert not any(map(reader.covers, ("torch.optim", "numpy", "json", "math", "no_such_module", "sys")))
    assert code.entry_point(reader, "torch.optim.Adam") == External("torch.optim.Adam")
    assert code.entry_point(Reader(frozenset({"yaml"})), "yaml.safe_load") == Place("yaml", "safe_load")


def test_a_single_file_beside_no_package_is_followed(folder: Path) -> None:
    name = f"alone_{next(NUMBERS)}"
    (folder / f"{name}_help.py").write_text("FACTOR = 1")
    (folder / f"{name}.py").write_text(f"from {name}_help import FACTOR\ndef run(): return FACTOR")
    importlib.invalidate_caches()
    assert set(reached(f"{name}.run").definitions) == {f"{name}:run", f"{name}_help:FACTOR"}


def test_finding_a_module_imports_nothing(folder: Path) -> None:
    name = package(folder, {"__init__.py": "raise RuntimeError", "run.py": "def run(): return 1"})
    assert reached(f"{name}.run.run").digest
    assert not [each for each in sys.modules if each.startswith(name)]


def names_of(*entries: str) -> set[str]:
    return {place.removeprefix("vae_likelihoods.") for place in reached(*entries).definitions}


def targets_of(group: str) -> dict[str, str]:
    found = {}
    for path in (PROJECT / "conf" / group).glob("*.yaml"):
        node = OmegaConf.load(path)
        found[path.stem] = OmegaConf.select(node, "_target_") or OmegaConf.select(
            node, f"{path.stem}._target_"
        )
    return found


@pytest.mark.parametrize("group", ["likelihood", "network", "metric"])
def test_training_by_itself_reaches_no_choice(group: str) -> None:
    """So that editing one likelihood leaves the cells of the others valid."""
    core = reached(TRAINING).definitions
    for name, target in targets_of(group).items():
        assert ":".join(target.rsplit(".", 1)) not in core, name


def test_training_reaches_what_decides_numbers_and_nothing_that_watches() -> None:
    names = names_of(TRAINING)
    assert {
        "training.trainer:Trainer", "training.schedule:TrainingSettings", "seeding:generator",
        "cells.build:build_model", "models.base:Model", "objectives.base:Terms",
        "datasets.quantise:levels_of", "datasets.prepared:PreparedDataset", "likelihoods.base:Likelihood",
    } <= names  # fmt: skip
    rooms = {name.partition(":")[0].partition(".")[0] for name in names}
    assert not rooms & {"sweeps", "tracking", "report", "metrics", "inference", "upkeep", "store"}
    assert not {name for name in names if name.startswith(("cells.cell", "cells.settings", "cells.identity"))}


SCRIPT = """
import json, sys
from pathlib import Path
from vae_likelihoods.store import code
from vae_likelihoods.store.modules import source_path
import ast

ENTRIES = json.loads(sys.argv[1])

def mutant(path, name):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if getattr(node, "name", None) == name and node in tree.body:
            node.body.append(ast.parse("spare = 1").body[0])
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node in tree.body and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            nodes = [each for target in targets for each in ast.walk(target)]
            if name in {each.id for each in nodes if isinstance(each, ast.Name)}:
                node.value = ast.Subscript(ast.List([node.value], ast.Load()), ast.Constant(0), ast.Load())
    return ast.unparse(ast.fix_missing_locations(tree))

def with_mutant(places):
    texts = {}
    for place in places:
        module, _, name = place.rpartition(":")
        path = source_path(module)
        texts.setdefault(path, path.read_text())
        path.write_text(mutant(path, name))
    code.forget()
    digest = code.reached(*ENTRIES).digest
    for path, text in texts.items():
        path.write_text(text)
    code.forget()
    return digest

before = code.reached(*ENTRIES)
unseen = [place for place in before.definitions if with_mutant([place]) == before.digest]
others = []
for path in sorted(Path(sys.argv[2]).rglob("*.py")):
    module = ".".join(path.relative_to(Path(sys.argv[2]).parent).with_suffix("").parts)
    for node in ast.parse(path.read_text()).body:
        if hasattr(node, "name") and f"{module}:{node.name}" not in before.definitions:
            others.append(f"{module}:{node.name}")
print(json.dumps([unseen, len(before.definitions), len(others), with_mutant(others) == before.digest]))
"""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the project's sources and configuration."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "conf"):
        shutil.copytree(PROJECT / name, tmp_path / "copy" / name, ignore=ignored)
    return tmp_path / "copy"


def run_in(copy: Path, script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(copy / "src")},
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_each_definition_that_a_cell_reaches_counts_and_no_other(copied: Path) -> None:
    entries = [
        TRAINING,
        *(targets_of(group)[name] for group, name in (("likelihood", "student_t"), ("network", "mlp"))),
        *(targets_of(group)[name] for group, name in (("model", "vae"), ("objective", "iwae"))),
    ]
    printed = run_in(copied, SCRIPT, json.dumps(entries), str(copied / "src" / "vae_likelihoods"))
    unseen, definitions, others, same = json.loads(printed)
    assert unseen == []
    assert definitions > 100
    assert others > 300
    assert same
