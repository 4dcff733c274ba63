"""The trainer of image autoencoders: pictures → crops → updates → sinks, and a report at the end."""
