"""Pictures of every screen from real runs on the embedded AWS, and figures about the command: `make screens`."""
