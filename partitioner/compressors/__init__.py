"""Learned compressors for the tensor at a cut: modules, their training by distillation, and integer tables."""
