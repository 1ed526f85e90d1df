"""Sparse neural networks as image codecs: from a picture to a file and back, measured."""

__version__ = "0.1.0"
