"""Concepts: directions of a latent space between two groups of images."""
