"""Numeric kernels behind the network and the cache."""
