"""Atlases: the pictures of a folder, laid out by their latents."""
