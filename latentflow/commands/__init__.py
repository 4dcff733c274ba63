"""One file a command. No torch at import: a command imports what it needs when it runs."""
