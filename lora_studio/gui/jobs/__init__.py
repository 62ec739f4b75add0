"""Workers as the window has them: threads, questions, the one heavy job, from wish to job to job."""
