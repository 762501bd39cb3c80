"""Done again, or not at all: clearing, marking, versions, the cache, and what is taken away."""
