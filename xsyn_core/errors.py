"""The one error that is meant for the person at the keyboard."""


class XsynError(ValueError):
    """Something the operator can mend; the message says what is wrong and what to do."""
