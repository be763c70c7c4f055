"""Training: state, objective, steps, schedule, checkpoints and the loop."""
