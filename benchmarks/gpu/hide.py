"""Run a script as if only some packages were installed.

python benchmarks/gpu/hide.py OWNERS.json NAME,NAME,... LOG SCRIPT ARGUMENT...

OWNERS.json has the package of each file; a file without a package is not hidden. LOG gets a line for each
hidden module that was looked for: its name and its package. Nothing outside the standard library is imported
here, because it could not be hidden any more.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, DistributionFinder, MetadataPathFinder
from pathlib import Path
from types import ModuleType

ANYWHERE = DistributionFinder.Context()


class VisibleFinder(DistributionFinder):
    """Finds modules and metadata on sys.path, but not those of packages that are not named."""

    def __init__(self, owners: Mapping[str, str], names: Sequence[str], log: Path) -> None:
        self.owners, self.names, self.log = owners, frozenset(names), log

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return None for a module that is hidden or missing."""
        spec = PathFinder.find_spec(fullname, path, target)
        owner = self.owners.get(spec.origin or "") if spec else None
        if owner is None or owner in self.names:
            return spec
        with self.log.open("a") as log:
            log.write(f"{fullname} {owner}\n")
        return None

    def find_distributions(self, context: DistributionFinder.Context = ANYWHERE) -> Iterable[Distribution]:
        """Yield the visible packages."""
        for distribution in MetadataPathFinder.find_distributions(context):
            if re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower() in self.names:
                yield distribution


def main() -> None:
    """Hide packages, then run the script."""
    owners, names, log, *sys.argv = sys.argv[1:]
    finder = VisibleFinder(json.loads(Path(owners).read_text()), names.split(","), Path(log))
    sys.meta_path[:] = [finder if entry is PathFinder else entry for entry in sys.meta_path]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
