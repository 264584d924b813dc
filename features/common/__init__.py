"""Errors, atomic file writing and parallel map; nothing here is specific to audio."""
