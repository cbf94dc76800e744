"""Images of user messages: fetched behind a guard, looked into, and kept for the turns that follow."""
