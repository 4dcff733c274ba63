"""Evaluations: how well autoencoders reconstruct images."""
