"""What each figure of the optimization is measured by: one file per family of figures."""
