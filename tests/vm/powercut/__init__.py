"""Cuts an update off at every write, and judges what is left."""
