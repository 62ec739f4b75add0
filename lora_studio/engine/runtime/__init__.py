"""What every job stands on: events out, cancels in, failures, child processes, disk, llama.cpp."""
