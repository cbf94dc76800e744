"""The gRPC services of Parley and what they share. Services never import each other."""

import os

# gRPC writes lines of its own about every client that fails a handshake, which would be among the lines of JSON. It
# reads this when it is imported, so that it must be here.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
