"""Break destructive paths one at a time in a copy of the tree, and hold that the tests that must notice do."""
