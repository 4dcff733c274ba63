"""Curvature: how a decoder bends space."""
