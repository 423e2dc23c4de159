"""The scorecard: held-out people, ground truth, intervals."""
