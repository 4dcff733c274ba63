"""The app: runs, walks and views of any autoencoder in a browser, computed where it is started."""
