"""Whatever comes from outside is read, or refused with an error of ours: inputs, targets, the campaign."""
