"""What only a GPU can show, in one script of at most nine minutes; small sizes rehearse it on a CPU."""
