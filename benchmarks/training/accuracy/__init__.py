"""How well the trainer forecasts and judges: known data, other libraries, chance."""
