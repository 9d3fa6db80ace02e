"""The MCP servers of CloudMake: which there are, how fast they may be expected to be, and how they are."""
