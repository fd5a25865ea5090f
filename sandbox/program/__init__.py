"""Runs a Pulumi program without the Pulumi CLI, deploys it in the emulator, and serves the emulator to the CLI."""
