"""Pictures: read from files, drawn, with text and axes."""
