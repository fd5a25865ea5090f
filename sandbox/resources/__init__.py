"""The resource types that the sandbox can make."""
