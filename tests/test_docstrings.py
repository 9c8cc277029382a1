"""The examples in docstrings say what the code does."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import vae_likelihoods
from hydra_plugins.vae_likelihoods_sweeps import launcher

MODULES = [
    launcher.__name__,
    *(
        module.name
        for module in pkgutil.walk_packages(vae_likelihoods.__path__, f"{vae_likelihoods.__name__}.")
        if not module.ispkg
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
