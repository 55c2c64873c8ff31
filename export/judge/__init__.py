"""What a trained model is worth, in the decisions the edge would take."""
