"""The GAN as a task: what its phases draw and minimise, its rates, its preview, export and transfer."""
