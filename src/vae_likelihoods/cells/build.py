"""The parts of a cell, built from its configuration: the `_target_` lines are the registry."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from hydra._internal.utils import _locate
from hydra.utils import instantiate
from omegaconf import OmegaConf

from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import PROJECT
from vae_likelihoods.likelihoods.base import SEARCH, Likelihood, UnsupportedLevels
from vae_likelihoods.models.base import Model
from vae_likelihoods.objectives.base import Objective
from vae_likelihoods.precision import default_dtype, dtype_of

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer

    from vae_likelihoods.cells.settings import Settings
    from vae_likelihoods.metrics.base import Metric


KEYS = {"networks": "network", "shape": "dataset", "output_channels": "likelihood"}
"""What is given to a part under another name than its key in the configuration."""


def build(path: str, node: Mapping[str, Any], **given: Any) -> Any:
    """Call the class or function that `node` names in `_target_`, with its settings and what is given here.

    Parts within the node, also in its lists and mappings, are built first. Each part refuses its own
    argument; the error gets the path at which the user wrote it. With `_partial_: true` the result is a
    function that builds the part, from the arguments that are still missing.

    Args:
        path: where `node` stands in the configuration.
        node: `_target_`, and the settings of the part.
        **given: arguments that no configuration holds; refusals of them keep their name.

    Raises:
        SettingError: if a class refuses its settings, or does not know one of them.
    """
    if node.get("_partial_"):
        whole = {key: value for key, value in node.items() if key != "_partial_"}
        return partial(build, path, whole, **given)
    parts = {key: _parts_in(f"{path}.{key}", value) for key, value in node.items() if _has_part(value)}
    plain = {key: value for key, value in node.items() if key not in parts and key != SEARCH}
    # Partial first: what is given (networks, parameters) must not pass through OmegaConf.
    check_target(path, node["_target_"])
    maker: Callable[..., Any] = instantiate(plain, _partial_=True, _convert_="all", _recursive_=False)
    try:
        return maker(**parts, **given)
    except SettingError as error:
        if error.key.startswith(f"{path}."):  # of a part that was built in there, and has its path
            raise
        own = error.key not in given
        raise (
            error.within(path) if own else error.renamed(KEYS.get(error.key, error.key))
        ) from error.__cause__
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # how torch's own classes refuse
        raise SettingError(path, node.get("_target_"), str(error)) from error


def check_target(path: str, target: Any) -> None:
    """Refuse a `_target_` that cannot be imported, or called (SettingError), and say why."""
    try:
        callable_ = callable(_locate(target))
        reason = "cannot be called"
    except Exception as error:  # an import runs any code
        callable_, reason = False, f"cannot be imported: {' '.join(str(error).split())}"
    require(callable_, f"{path}._target_", target, reason)


def check_targets(settings: Any, path: str = "") -> None:
    """Refuse the first `_target_` within `settings` that cannot be imported, or called (SettingError)."""
    if isinstance(settings, Mapping):
        if "_target_" in settings:
            check_target(path, settings["_target_"])
        for key, value in settings.items():
            check_targets(value, f"{path}.{key}".lstrip("."))
    elif isinstance(settings, list):
        for place, value in enumerate(settings):
            check_targets(value, f"{path}.{place}")


def defaults_of(target: str) -> dict[str, Any]:
    """Return the default of every argument of a class or function that has one."""
    arguments = inspect.signature(_locate(target)).parameters.values()
    return {each.name: each.default for each in arguments if each.default is not each.empty}


def _has_part(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_has_part, value.values()))
    return isinstance(value, list) and any(map(_has_part, value))


def _parts_in(path: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_parts_in(f"{path}.{place}", each) for place, each in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    if "_target_" in value:
        return build(path, value)
    return {key: _parts_in(f"{path}.{key}", each) for key, each in value.items()}


def build_likelihood(settings: Settings, channels: int) -> Likelihood:
    """Build p(x | z) for the configuration's K.

    Raises:
        SettingError: if the likelihood cannot model K levels, naming those that can.
    """
    try:
        likelihood: Likelihood = build(
            "likelihood", settings.likelihood, levels=settings.levels, channels=channels
        )
    except UnsupportedLevels as error:
        name = settings.names["likelihood"]
        reason = f"cannot model levels={settings.levels}: {error.reason}"
        raise SettingError("likelihood", name, reason, likelihoods_for(settings.levels)) from None
    return likelihood


def likelihoods_for(levels: int) -> Iterator[str]:
    """Yield the names in conf/likelihood that model `levels` levels."""
    for path in sorted((PROJECT / "conf" / "likelihood").glob("*.yaml")):
        try:
            build("likelihood", OmegaConf.to_container(OmegaConf.load(path)), levels=levels, channels=1)  # type: ignore[arg-type]
        except UnsupportedLevels:
            continue
        yield path.stem


def build_model(settings: Settings, shape: tuple[int, int, int]) -> Model:
    """Build the model of a configuration for images of `shape` (C, H, W), on the CPU."""
    return assembled(
        settings.model,
        dtype_of(settings.training.precision),
        levels=settings.levels,
        shape=shape,
        likelihood=lambda: build_likelihood(settings, shape[0]),
        network=settings.network,
        latent_dim=settings.latent_dim,
    )


def assembled(
    model: Mapping[str, Any],
    dtype: torch.dtype,
    *,
    levels: int,
    shape: tuple[int, int, int],
    likelihood: Callable[[], Likelihood],
    network: Mapping[str, Any],
    latent_dim: int | None,
) -> Model:
    """Build a model from what its class takes of all this, on the CPU.

    Args:
        model: its `_target_` and its own settings.
        dtype: of its weights.
        levels: K.
        shape: C, H, W of the images.
        likelihood: makes p(x | z), or that of a pixel.
        network: the `_target_` and the settings of encoder and decoder.
        latent_dim: L; None: the model has no latent variables.
    """
    check_target("model", model["_target_"])
    takes = inspect.signature(_locate(model["_target_"])).parameters
    given: dict[str, Any] = {"levels": levels, "shape": shape, "latent_dim": latent_dim}
    with default_dtype(dtype):
        if "likelihood" in takes:
            given["likelihood"] = likelihood()
        if "networks" in takes:
            sizes = {"latent_dim": latent_dim, "output_channels": given["likelihood"].output_channels}
            given["networks"] = build("network", network, shape=shape, **sizes)
        built: Model = build("model", model, **{key: each for key, each in given.items() if key in takes})
    return built.to(dtype)


def build_objective(settings: Settings) -> Objective:
    """Build the loss."""
    objective: Objective = build("objective", settings.objective)
    return objective


def build_metrics(settings: Settings) -> dict[str, Metric]:
    """Build every metric of the configuration, by name."""
    return {name: build(f"metric.{name}", node) for name, node in sorted(settings.metric.items())}


def build_optimizer(settings: Settings, model: Model) -> Optimizer | None:
    """Build the optimiser on all parameters of the model, the likelihood's too; None if it fits itself."""
    if model.fits_itself:
        return None
    optimizer: Optimizer = build("optimizer", settings.optimizer, params=model.parameters())
    return optimizer
