"""One module per question put to a trained model: a model and data in, figures and numbers out."""
