"""Controls that change a value, and the editor that binds one to a setting."""
