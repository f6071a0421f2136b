"""What a model call says: model, tokens, stream, conversation and key."""
