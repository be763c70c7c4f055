"""An encoder as a task: what its phases draw and minimise, its stages, and the frozen generator that it inverts."""
