"""What a script of OMERO needs of omero-py, for tests: inputs and session come from the environment, outputs go to a file."""
