"""How the nano base was made: drawn pictures, an autoencoder, and a text-conditioned inpainting denoiser."""
