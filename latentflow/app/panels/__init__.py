"""What the tabs of the app show, one module each."""
