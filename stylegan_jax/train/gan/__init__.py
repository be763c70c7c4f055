"""The GAN as a task: what its phases minimise, and its state."""
