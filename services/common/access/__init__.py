"""Who may call a server, and how much: tokens, and what each of them may use. See docs/security.md."""
