"""What encodes and decodes, and where its weights come from."""
