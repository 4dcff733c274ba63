"""Atlases: a folder as a map of its latents."""
