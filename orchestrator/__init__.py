"""The orchestrator: chains speech to text, a language model and text to speech into live conversations."""
