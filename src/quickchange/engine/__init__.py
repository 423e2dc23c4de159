"""The engine: from a model directory to a stream of chunks."""
