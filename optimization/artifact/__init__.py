"""What is published and served: a directory of files, its manifest, and what a report shows of it."""
