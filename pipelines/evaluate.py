"""Score one trained cell, or with -m a grid of cells: runs/ -> evaluations/<study>/<cell>/.

.venv/bin/python pipelines/evaluate.py likelihood=beta_binomial latent_dim=8
.venv/bin/python pipelines/evaluate.py -m likelihood=bernoulli,gaussian latent_dim=2,8,32 levels=2
"""

from functools import partial

import hydra
from omegaconf import DictConfig

from vae_likelihoods.files import PROJECT, own_checkout
from vae_likelihoods.scripts import run
from vae_likelihoods.sweeps.job import run_job
from vae_likelihoods.sweeps.studies import expanded


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
def main(config: DictConfig) -> float | None:
    """Evaluate the cell that `config` describes; return its test score in bits/dim."""
    return run_job("evaluate", config)


if __name__ == "__main__":
    own_checkout(__file__)
    run(main, partial(expanded, params=PROJECT / "params.yaml"))
