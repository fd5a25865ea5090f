"""The resource types that the sandbox supports."""
