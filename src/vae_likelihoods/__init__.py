"""Which likelihood, and how many latents? VAEs that are trained, scored and compared on one scale."""
