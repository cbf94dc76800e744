"""`parley load`: many callers at once, each saying a recording at the speed of speech; what they meet is measured."""
