"""Arguments of commands that have many; nothing here imports what a command needs."""
