"""The `parley` command: starts the services on one machine, and talks to them."""
