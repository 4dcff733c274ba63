"""Evaluations: what autoencoders keep of images."""
