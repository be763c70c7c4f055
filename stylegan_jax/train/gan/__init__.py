"""The GAN as a task: what its phases draw and minimise, its rates, and how it is shown, exported and transferred."""
