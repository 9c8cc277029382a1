"""The metrics that anneal, and their siblings, refuse what cannot be under the names that a user writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from vae_likelihoods.cells.build import build
from vae_likelihoods.errors import SettingError

CONF = Path(__file__).parents[2] / "conf" / "metric"
ANNEALING = [
    ("images", 1),
    ("chains", 0),
    ("temperatures", 2.5),
    ("schedule", "cosine"),
    ("leapfrog_steps", 0),
    ("acceptance", 0),
    ("decoded_at_once", 0),
]
OTHERS = {
    "ais": [("start", "encoder"), ("samples", 0)],
    "inference_gap": [("samples", 0), ("steps", 0), ("draws", 0), ("learning_rate", 0.0)],
    "refit": [("epochs", 0), ("batch_size", 0), ("samples", 0), ("learning_rate", -1.0)],
    "generalisation": [("images", 1), ("samples", 0), ("decoded_at_once", 0)],
}
CASES = [
    *((name, *case) for name in ("ais", "inference_gap") for case in ANNEALING),
    *((name, *case) for name, cases in OTHERS.items() for case in cases),
]


@pytest.mark.parametrize(("name", "setting", "value"), CASES)
def test_settings_that_cannot_be(name: str, setting: str, value: Any) -> None:
    node: Any = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    build(f"metric.{name}", node[name])  # as it stands it can be
    with pytest.raises(SettingError) as caught:
        build(f"metric.{name}", {**node[name], setting: value})
    assert caught.value.key == f"metric.{name}.{setting}"
