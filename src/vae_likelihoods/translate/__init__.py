"""The loss translator: which likelihood, sigma and beta somebody's loss is."""

from vae_likelihoods.translate.losses import Reading, Translation, translate

__all__ = ["Reading", "Translation", "translate"]
