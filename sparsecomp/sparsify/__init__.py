"""Ways to make weights or codes zero, and to remove what is zero from a network.

Gates, Lagrangian multipliers, magnitude pruning, projections onto norm balls, ADMM, and surgery.
"""
