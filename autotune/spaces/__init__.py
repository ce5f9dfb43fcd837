"""Spaces: what may be changed about a program. Lazy: they sample, mutate, cross and enumerate, never materialise."""
