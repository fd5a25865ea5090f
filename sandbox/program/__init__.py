"""The Pulumi program run on this machine: in this process, or by the real engine."""
