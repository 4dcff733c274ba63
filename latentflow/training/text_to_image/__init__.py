"""Training a small text-to-image model: latent diffusion on the bundled autoencoder's latents."""
