"""The gRPC services of Parley and what they share. Services never import each other."""
