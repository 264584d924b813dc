"""Errors, atomic file writing and a parallel map; nothing here is specific to audio."""
