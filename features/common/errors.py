"""The error class for problems that the user can fix."""


class UserError(ValueError):
    """Invalid input that the user can correct.

    The message is one line that names the input, its value and the remedy. The commands print it without a
    traceback and exit with status 2.
    """
