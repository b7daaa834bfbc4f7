"""Pictures of every screen from real runs on the embedded AWS, and what they measure: `make screens`."""
