"""Audio to windows of numbers. Knows no model and no command line."""
