"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vae_likelihoods.files import PROJECT

Root = Annotated[Path, typer.Option(show_default="the project", help="The folder of data/ and all results.")]
Params = Annotated[Path, typer.Option(show_default="the project's", help="The params.yaml of the studies.")]
PARAMS = PROJECT / "params.yaml"
