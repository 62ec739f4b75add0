"""Convert conversations to token ids, with a mask of the tokens to train on."""
