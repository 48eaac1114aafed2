"""Hands what was received on to other back-ends, each at its own pace, and loses nothing that they may still take."""
