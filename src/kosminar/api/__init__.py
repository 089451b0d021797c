"""The HTTP surfaces: the compatible one and the native one."""
