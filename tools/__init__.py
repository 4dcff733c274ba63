"""What maintainers run from a checkout; the package neither holds nor imports it."""
