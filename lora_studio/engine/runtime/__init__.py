"""The foundation of every job: events, cancellation, failures, child processes, disk, llama.cpp."""
