"""The loop: an image becomes a latent."""
