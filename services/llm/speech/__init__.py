"""From the text that a model writes to the text that is spoken: pure, incremental, indifferent to chunk borders."""
