"""VAE likelihoods compared on one scale."""
