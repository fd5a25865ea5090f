"""The parts that the components share: the registry, the roles' policies, the additional arguments."""
