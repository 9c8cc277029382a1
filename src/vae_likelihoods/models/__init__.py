"""Models of images: prior, posterior and decoder."""
