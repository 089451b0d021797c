"""The native surface: RFC 9457 problems, RFC 3339 times, one result for each item."""
