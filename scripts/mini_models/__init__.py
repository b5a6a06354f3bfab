"""How the embedded mini models are trained: data, networks, loops, measures and the folders they end in."""
