"""A folder of results as a model to use: encode, sample, score."""
