"""The one kind of error that a user can mend."""


class UserError(ValueError):
    """Input that is wrong in a way its owner can mend.

    The message is one line that names the thing, its value and the remedy; the commands print it
    as it is and exit with status 2.
    """
