"""Training: codec, teacher, teacher forcing, distillation; one loop, one recipe file."""
