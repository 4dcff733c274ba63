"""Views of a latent space, one module or package each."""
