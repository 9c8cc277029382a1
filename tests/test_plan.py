"""The plan of the house: which package may know which, as docs/design.md draws it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "src"
PACKAGE = SOURCES / "vae_likelihoods"
DESIGN = (SOURCES.parent / "docs" / "design.md").read_text(encoding="utf-8")
LOOSE = {"__init__", "__main__", "errors", "files", "palette", "precision", "refusals", "scripts", "seeding"}


def floors() -> list[list[str]]:
    """Return the floors that docs/design.md draws, the top one first."""
    drawn = re.search(r"```text floors\n(.*?)```", DESIGN, re.DOTALL)
    assert drawn is not None
    return [re.split(r",\s*", line.strip()) for line in drawn[1].strip().splitlines()]


def arrows() -> set[tuple[str, str]]:
    """Return the arrows of the picture in docs/design.md."""
    picture = re.search(r"```mermaid\n(.*?)```", DESIGN, re.DOTALL)
    assert picture is not None
    lines = re.findall(r"^\s*(\w+) --> ([\w &]+)$", picture[1], re.MULTILINE)
    return {(room, known) for room, all_known in lines for known in all_known.split(" & ")}


def modules_of(path: Path) -> Iterator[str]:
    """Yield every module of the project that a file imports, for type checking and in functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            own = node.module == PACKAGE.name
            yield from (
                (f"{node.module}.{alias.name}" for alias in node.names) if own else (node.module or "",)
            )


def room_of(module: str) -> str | None:
    """Return the package or loose module of the project that a module is in."""
    top, _, rest = module.partition(".")
    if top == "hydra_plugins" and rest.startswith(PACKAGE.name):
        return top
    room = (rest.partition(".")[0] or "__init__") if top == PACKAGE.name else None
    return "cli" if room == "__main__" else room


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(SOURCES).with_suffix("").parts)


def known_by_room() -> dict[str, set[str]]:
    rooms: dict[str, set[str]] = defaultdict(set)
    for path in SOURCES.rglob("*.py"):
        own = room_of(dotted(path))
        assert own is not None
        rooms[own] |= {room for module in modules_of(path) if (room := room_of(module)) not in (None, own)}
    return rooms


KNOWN = known_by_room()
PACKAGES = sorted({path.parent for path in SOURCES.rglob("__init__.py")} - {PACKAGE})


def test_every_package_has_a_floor() -> None:
    drawn = {room for floor in floors() for room in floor}
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} <= drawn


@pytest.mark.parametrize("package", PACKAGES, ids=dotted)
def test_a_docstring_says_what_its_package_knows_and_what_not(package: Path) -> None:
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert re.search(r"\bknows? (?!nothing\b)\w", docstring, re.IGNORECASE), "it does not say what it knows"
    assert re.search(r"\bnothing of\b|\bcomputes no", docstring), "it does not say what it leaves to others"


def test_no_more_modules_are_loose_than_the_plan_says() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} <= LOOSE


@pytest.mark.parametrize("room", sorted(KNOWN))
def test_a_room_knows_only_what_lies_on_lower_floors(room: str) -> None:
    height = {name: -number for number, floor in enumerate(floors()) for name in floor}
    upward = {known for known in KNOWN[room] if height[known] >= height[room]}
    assert not upward, f"{room} imports {', '.join(sorted(upward))}"


def test_the_picture_has_an_arrow_for_each_package_that_another_imports() -> None:
    everybodys = set(floors()[-1])  # they would hide the rest
    expected = {(room, known) for room, all_known in KNOWN.items() for known in all_known - everybodys}
    assert {(room, known) for room, known in arrows() if room != "pipelines"} == expected


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {dotted(path): {*modules_of(path)} for path in SOURCES.rglob("*.py")}
    names = {name.removesuffix(".__init__"): known for name, known in graph.items()}
    done: set[str] = set()

    def walk(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above[above.index(name) :], name])
        if name in names and name not in done:
            for known in names[name]:
                walk(known, (*above, name))
            done.add(name)

    for name in names:
        walk(name, ())


def test_no_public_class_means_two_things() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in SOURCES.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(dotted(path))
    assert not {name: modules for name, modules in places.items() if len(modules) > 1}
