"""The knowledge step: what is learned across customers, beside the straight line. docs/knowledge.md."""
