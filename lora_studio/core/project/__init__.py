"""The six specs in one file: draft and frozen, migrated, checked, preset."""
