"""Training of image autoencoders: images → crops → updates → sinks, and a report at the end."""
