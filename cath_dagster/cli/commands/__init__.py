"""What people type: each module has an `app` with a group's commands, and imports what they need when they are called."""
