"""The devices of this computer: listing, choosing and locking them, and measuring their load."""
