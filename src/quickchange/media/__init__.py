"""Pictures and videos: reading, framing, writing, marking."""
