"""The relay beside others, over the same link and with the same traffic, in turns."""
