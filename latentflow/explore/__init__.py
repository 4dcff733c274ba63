"""Other ways to look at a latent space than to flow through it: one module a view."""
