"""The instrument that reads people in frames."""
