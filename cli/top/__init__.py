"""`parley top`: what the services' metrics say, drawn anew in the terminal."""
