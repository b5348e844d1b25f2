"""The embedded default: toy data, a small aligned model and a sentence encoder, all made on the spot from a grammar."""
