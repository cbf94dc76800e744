"""The local engine: many sequences share every forward pass, and keep their keys and values for the next turn."""
