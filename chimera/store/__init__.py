"""The durable memory: who ever borrowed, where a restart resumes, and every episode."""
