"""Which likelihood, and how many latents? VAEs that are trained, scored and compared on one scale.

`load` opens a trained model. It is imported when it is first used, so that importing the package stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae_likelihoods.trained.loading import load
    from vae_likelihoods.trained.model import Latents, TrainedModel

__all__ = ["Latents", "TrainedModel", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vae_likelihoods.trained import loading, model

    return loading.load if name == "load" else getattr(model, name)
