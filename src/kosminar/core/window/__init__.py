"""Where the periods of a programme lie in time."""
