"""The alarms and the dashboard: what they watch, from which values on, and what they say."""
