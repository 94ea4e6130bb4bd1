"""The only room that opens sockets or starts processes; one module per vendor, all reads through ``_tape``."""
