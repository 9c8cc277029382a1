"""What is measured on a trained model: collecting over a split kept apart from computing on arrays."""
