"""What the journal raises."""


class JournalError(Exception):
    """The journal cannot take a request, or cannot be opened; what was acknowledged before is still there."""
