"""The orchestrator: chains speech to text, a language model and text to speech into live conversations."""

import services  # noqa: F401  before gRPC: see there
