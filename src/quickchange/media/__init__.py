"""Pictures and videos: reading, placing, writing and signing."""
