"""For embeddings, pictures and models of one's own: measured, embedded, handed on."""
