"""Training data: clips, triplets, latents."""
