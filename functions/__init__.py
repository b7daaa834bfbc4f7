"""The Lambda handlers. Each decodes its event, makes one service call and logs the outcome."""
