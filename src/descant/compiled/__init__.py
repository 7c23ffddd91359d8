"""Functions compiled for the processor at hand, and threads that share their work."""
