"""One script, one claim; the last line each prints is one JSON object."""
