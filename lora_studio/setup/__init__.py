"""Set up the engine environment: detect, plan, download, install, check, switch. No Qt, no torch."""
