"""Training: networks fitted to single pictures, and autoencoders trained on sets of pictures."""
