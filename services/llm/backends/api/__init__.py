"""What the two API backends share: the provider, its connections, its stream, its failures."""
