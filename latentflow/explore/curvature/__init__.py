"""Curvature: the pull-back metric of a decoder on a plane, and a geodesic across it."""
