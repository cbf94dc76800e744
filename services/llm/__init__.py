"""The language model service: generation on one of several backends, and the conversations beside it."""
