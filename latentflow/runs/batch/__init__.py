"""Folders of images: one model for all of them, and nothing done twice."""
