"""How a cell is trained and how it is evaluated: build the parts, run, write."""
