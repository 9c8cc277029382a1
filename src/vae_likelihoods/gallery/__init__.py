"""The gallery of wrong losses: each classic error beside the right form, with what it costs."""
