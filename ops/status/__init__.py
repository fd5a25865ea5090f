"""The command status: reads facts about each consumer directly from AWS, judges them, and shows what is wrong."""
