"""The loss translator: which likelihood, scale and beta somebody's loss is.

Knows formulas, nothing of models or data.
"""

from vae_likelihoods.translate.losses import Reading, Translation, translate

__all__ = ["Reading", "Translation", "translate"]
