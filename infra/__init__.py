"""What exists in AWS: tables, consumers, and what they need."""
