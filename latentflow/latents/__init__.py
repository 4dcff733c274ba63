"""Latents: where they come from, paths between them, folders of them."""
