"""Where zeros come from (gates, Lagrangian constraints, magnitude pruning), and a network without them (surgery)."""
