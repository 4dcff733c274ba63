"""An autoencoder as a page for a browser, in which the whole flow runs."""
