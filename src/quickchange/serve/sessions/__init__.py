"""Streams, their pace and the thread that computes them."""
