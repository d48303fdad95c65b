"""storage-providers: one contract for collections of JSON documents, and places to keep them."""
