"""The compatible surface: paths, fields and codes as published, quirks included."""
