"""The HTTP data plane: one client connection, its backend connection, and the bytes between them."""
