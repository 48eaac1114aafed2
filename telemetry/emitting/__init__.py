"""How a process reports: counted in place, exported in bulk."""
