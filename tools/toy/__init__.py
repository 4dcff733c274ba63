"""The training of a small text-to-image model, the bundled one for example: latent diffusion on the bundled
autoencoder's latents."""
