"""The likelihoods of conf/likelihood, and further ones that the same classes make of other laws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vae_likelihoods.cells.build import build as build_part
from vae_likelihoods.likelihoods.base import Likelihood

Node = dict[str, Any]


def _content(path: Path) -> Node:
    node = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}


def law(module: str, name: str, **settings: Any) -> Node:
    return {"_target_": f"vae_likelihoods.likelihoods.laws.{module}.{name}", **settings}


CONFIGS = {
    path.stem: _content(path)
    for path in sorted((Path(__file__).parents[1] / "conf" / "likelihood").glob("*.yaml"))
}
NORMAL, LAPLACE, LOGISTIC = law("normal", "Normal"), law("laplace", "Laplace"), law("logistic", "Logistic")
SECANT = {"_target_": "secant.HyperbolicSecant"}
COMPOSITIONS = {
    "composed_secant": {**CONFIGS["laplace"], "law": SECANT},
    "composed_mixture_laplace": {**CONFIGS["logistic_mixture"], "law": LAPLACE},
    "composed_mixture_normal": {**CONFIGS["logistic_mixture"], "law": NORMAL},
    "composed_mixture_secant": {**CONFIGS["logistic_mixture"], "law": SECANT},
    "composed_logit_student_t": {**CONFIGS["logit_normal"], "law": law("student_t", "StudentT", df=6)},
    "composed_logit_secant": {**CONFIGS["logit_normal"], "law": SECANT},
    "composed_truncated_laplace": {**CONFIGS["truncated_gaussian"], "law": LAPLACE},
    "composed_truncated_secant": {**CONFIGS["truncated_gaussian"], "law": SECANT},
}
assert not CONFIGS.keys() & COMPOSITIONS.keys()
NODES = {**CONFIGS, **COMPOSITIONS}
# Each of these shares its family with a faster one, and its law with another.
SLOW = {
    "composed_mixture_normal",
    "composed_mixture_secant",
    "composed_logit_student_t",
    "composed_truncated_secant",
}


def build(name: str, levels: int, channels: int = 1, **changes: Any) -> Likelihood:
    """Build a likelihood by name, with changes to its settings."""
    node = {**NODES[name], **changes}
    likelihood: Likelihood = build_part("likelihood", node, levels=levels, channels=channels)
    return likelihood
