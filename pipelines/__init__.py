"""The commands: parse, load, fit, score, write."""
