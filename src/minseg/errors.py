"""The one error a user can cause."""


class MinsegError(Exception):
    """A mistake in the input, told in one line: what, where, and how to mend it.

    The command line prints the message without a traceback and exits with 1.
    """
