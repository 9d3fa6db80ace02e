"""What tests share: databases, servers, doubles of the outside, and ways to start and to wait."""
