"""The JSON files of the provided documents, one each, named after the document."""
