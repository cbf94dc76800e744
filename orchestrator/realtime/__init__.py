"""The Realtime bridge: live sessions for clients that speak the OpenAI Realtime API over a WebSocket.

A second transport beside `orchestrator/servicer.py`, with the same sessions behind it (`orchestrator/sessions.py`). It
only translates: JSON events become calls of a session (`client_events.py`, `session_config.py`, `client.py`), the
session's events become JSON (`server_events.py`), and `socket.py` and `server.py` carry them. docs/realtime.md says
what clients see.
"""
