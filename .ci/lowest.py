"""Print the lowest version of each package that pyproject.toml allows, as constraints for pip."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path


def lowest(requirement: str) -> str | None:
    """Return `name==version` for a requirement with a lower bound.

    Example:
        >>> lowest("moto[server]>=5,<6"), lowest("pandas-stubs")
        ('moto==5', None)
    """
    match = re.match(r"([\w.-]+)(?:\[.*\])?>=([\w.]+)", requirement)
    return f"{match[1]}=={match[2]}" if match else None


def main() -> None:
    """Read the project's dependencies and those of its extra `dev`."""
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    print("\n".join(filter(None, map(lowest, requirements))))


if __name__ == "__main__":
    main()
