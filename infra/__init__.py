"""The components that Pulumi deploys to AWS: tables, stores and consumers."""
