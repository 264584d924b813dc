"""From audio to numbers per window, without models or a command line."""
