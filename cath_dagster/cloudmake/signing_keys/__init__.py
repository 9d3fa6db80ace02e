"""The keys that sign CloudMake's tokens: how one is made, which one signs, which still verify, and who may know of them."""
