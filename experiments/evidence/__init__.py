"""Ways of training held against each other."""
