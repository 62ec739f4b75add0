"""What a value is changed with: controls, and the editor that binds one to a setting."""
