"""Rolling chat histories: what they are, how they change, where they are kept."""
