"""What every Parley server shares: settings, lifecycle, errors, admission, metrics, logs and audio conversion."""
