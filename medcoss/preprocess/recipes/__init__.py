"""One recipe a file, named after its dataset or layout."""
