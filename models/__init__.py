"""Arrays to scores. Knows no audio and no command line."""
