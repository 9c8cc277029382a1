"""Published protocols: what the paper found, what this project finds, and what differs between them."""
