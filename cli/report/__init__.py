"""`parley report`: one page about a load run, and the figures that it and the terminal show."""
