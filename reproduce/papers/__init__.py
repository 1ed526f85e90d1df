"""What each paper says, and what we measured of it: one folder a paper. Papers import `baselines`, never each other."""
