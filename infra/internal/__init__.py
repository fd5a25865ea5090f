"""What the components are made with: the registry that judges them, their policies, the arguments they pass on."""
