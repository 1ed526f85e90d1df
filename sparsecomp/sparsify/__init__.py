"""Where zeros come from: gates, Lagrangian constraints, magnitude pruning."""
