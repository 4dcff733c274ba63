"""Autoencoders, and the places that their weights come from."""
