"""The commands: their options and texts. Each imports the module that does its work when it runs."""
