"""What runs in Lambda. Each handler decodes its event, makes one service call and logs the outcome."""
