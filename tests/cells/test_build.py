"""Building the parts of a cell: what a class refuses becomes one line that names the group."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from vae_likelihoods.cells.build import (
    build,
    build_likelihood,
    build_model,
    build_objective,
    build_optimizer,
    likelihoods_for,
)
from vae_likelihoods.cells.settings import Settings, read
from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.objectives.elbo import ELBO

LIKELIHOODS = {path.stem for path in (Path(__file__).parents[2] / "conf" / "likelihood").glob("*.yaml")}


@pytest.fixture
def settings(configuration: Callable[..., DictConfig]) -> Callable[..., Settings]:
    return lambda *overrides: read(configuration("dataset=digits", "network.hidden=[8]", *overrides))


def test_parts_are_built_from_their_targets(settings: Callable[..., Settings]) -> None:
    composed = settings("levels=5", "latent_dim=3", "objective.beta=0.5")
    model = build_model(composed, (3, 8, 8))
    assert (model.latent_dim, model.likelihood.levels, model.likelihood.channels) == (3, 5, 3)
    outputs = model.decode(torch.zeros(2, 3))
    assert outputs.shape == (2, model.likelihood.output_channels, 8, 8)
    assert build_objective(composed) == ELBO(beta=0.5, warmup_epochs=0)


def test_the_optimiser_has_every_parameter_those_of_the_likelihood_too(
    settings: Callable[..., Settings],
) -> None:
    composed = settings("likelihood=gaussian_learned", "optimizer.lr=0.25")
    model = build_model(composed, (1, 8, 8))
    optimizer = build_optimizer(composed, model)
    (group,) = optimizer.param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in model.parameters()}
    assert any(p is model.likelihood.scale.log_excess for p in group["params"])
    assert group["lr"] == 0.25


def test_a_likelihood_that_cannot_model_the_levels_names_those_that_can(
    settings: Callable[..., Settings],
) -> None:
    with pytest.raises(SettingError) as caught:
        build_likelihood(settings("likelihood=bernoulli", "levels=17"), channels=1)
    assert str(caught.value).startswith("likelihood=bernoulli: cannot model levels=17: ")
    assert set(caught.value.choices) == LIKELIHOODS - {"bernoulli"}


@pytest.mark.parametrize("levels", [2, 256])
def test_likelihoods_for_are_those_that_build(levels: int) -> None:
    assert set(likelihoods_for(levels)) == LIKELIHOODS - ({"bernoulli"} if levels > 2 else set())


REFUSED = [
    ("likelihood=gaussian", "likelihood.scale=-1", "likelihood.scale=-1"),
    ("likelihood=gaussian", "+likelihood.scalee=1", "likelihood=vae_likelihoods.likelihoods.location_scale"),
    ("likelihood=student_t", "likelihood.law.df=3", "likelihood.law.df=3: must be even"),
    ("likelihood=laplace", "likelihood.law=normal", "likelihood.law=normal: must be a law"),
    ("network=mlp", "network.hidden=[]", "network.hidden="),
    ("network=mlp", "network.hidden=16", "network.hidden=16: must be a list of widths"),
    ("network=mlp", "network.hidden=[2.5]", "network=vae_likelihoods.networks.mlp"),
    ("network=mlp", "+network.depth=3", "network=vae_likelihoods.networks.mlp"),
    ("objective=elbo", "objective.beta=-1", "objective.beta=-1"),
    ("objective=elbo", "objective.beta=abc", "objective=vae_likelihoods.objectives.elbo.ELBO"),
    ("objective=iwae", "objective.samples=2.5", "objective.samples=2.5"),
    ("optimizer=adam", "optimizer.lr=-1", "optimizer=torch.optim.Adam: Invalid learning rate"),
    ("optimizer=adam", "+optimizer.momentum=1", "optimizer=torch.optim.Adam"),
]


@pytest.mark.parametrize(("choice", "override", "message"), REFUSED, ids=[row[1] for row in REFUSED])
def test_settings_that_a_class_refuses_are_one_line(
    settings: Callable[..., Settings], choice: str, override: str, message: str
) -> None:
    def build_all(composed: Settings) -> None:
        build_objective(composed)
        build_optimizer(composed, build_model(composed, (1, 8, 8)))

    with pytest.raises(SettingError) as caught:
        build_all(settings(choice, override))
    assert str(caught.value).startswith(message)


def test_what_is_given_is_not_copied() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    part = build("optimizer", {"_target_": "torch.optim.SGD", "lr": 0.5}, params=parameters)
    assert part.param_groups[0]["params"][0] is parameters[0]


class Spring:
    """A part with an argument of its own."""

    def __init__(self, stiffness: float) -> None:
        require(stiffness > 0, "stiffness", stiffness, "must be positive")


class Clock:
    """A part that is made of others."""

    def __init__(self, springs: object, teeth: int = 1, levels: int = 2) -> None:
        self.springs = springs
        require(teeth > 0, "teeth", teeth, "must be positive")
        require(levels > 1, "levels", levels, "must be at least 2")
        require(levels < 9, "", "the clock", "is too fine")


def spring(stiffness: float) -> dict[str, object]:
    return {"_target_": f"{__name__}.Spring", "stiffness": stiffness}


NESTED = [
    (spring(-1), {}, "metric.mine.springs.stiffness=-1: "),
    ([spring(1), [spring(2), spring(-3)]], {}, "metric.mine.springs.1.1.stiffness=-3: "),
    ({"a": spring(1), "b": [{"c": spring(-4)}]}, {}, "metric.mine.springs.b.0.c.stiffness=-4: "),
    (spring(1), {"teeth": 0}, "metric.mine.teeth=0: "),
    (spring(1), {"levels": 1}, "metric.mine.levels=1: "),
    ({**spring(1), "colour": 2}, {}, "metric.mine.springs="),
]


@pytest.mark.parametrize(("springs", "others", "message"), NESTED)
def test_a_refusal_has_the_path_at_which_the_user_wrote_the_setting(
    springs: object, others: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingError) as caught:
        build("metric.mine", {"_target_": f"{__name__}.Clock", "springs": springs, **others})
    assert str(caught.value).startswith(message)


def test_what_is_given_keeps_its_own_key_and_the_part_as_a_whole_has_its_path() -> None:
    node = {"_target_": f"{__name__}.Clock", "springs": spring(1)}
    with pytest.raises(SettingError, match=r"^levels=1: "):
        build("metric.mine", node, levels=1)
    with pytest.raises(SettingError, match=r"^metric\.mine=the clock: is too fine"):
        build("metric.mine", node, levels=9)


def test_parts_in_lists_are_built() -> None:
    part = build("x", {"_target_": f"{__name__}.Clock", "springs": [spring(1), [spring(2)], 3, {"a": 1}]})
    first, (second,), *rest = part.springs
    assert isinstance(first, Spring)
    assert isinstance(second, Spring)
    assert rest == [3, {"a": 1}]


def test_parts_in_mappings_are_built() -> None:
    springs = {"a": spring(1), "b": {"c": [spring(2)], "d": {"e": [3]}}, "f": 4}
    built = build("x", {"_target_": f"{__name__}.Clock", "springs": springs}).springs
    assert isinstance(built["a"], Spring)
    assert isinstance(built["b"]["c"][0], Spring)
    assert (built["b"]["d"], built["f"]) == ({"e": [3]}, 4)
