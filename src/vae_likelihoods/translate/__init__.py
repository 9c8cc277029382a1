"""The loss translator: the likelihood, scale and beta that belong to a given loss.

Knows formulas, nothing of models or data.
"""

from vae_likelihoods.translate.losses import Reading, Translation, translate

__all__ = ["Reading", "Translation", "translate"]
