"""How the commands write: numbers, times, causes of errors, images, and lines of at most 80 columns."""
