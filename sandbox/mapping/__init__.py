"""An event source mapping that fails, retries and gives up as on AWS."""
