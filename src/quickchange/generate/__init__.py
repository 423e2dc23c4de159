"""One video, offline."""
