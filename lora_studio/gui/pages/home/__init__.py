"""Home: start a project, reopen a recent one, resume an interrupted run."""
