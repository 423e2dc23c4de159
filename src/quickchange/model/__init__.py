"""The networks: transformer, codecs, text encoder; and the arithmetic of flow matching."""
