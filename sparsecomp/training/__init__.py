"""Training: fits of networks to pictures."""
