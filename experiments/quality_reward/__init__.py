"""A learned quality reward: degraded frames, the stage that fits it, how well it follows true error."""
