"""The garbage collector: the whole object store compared with what rows own."""
