"""Command documents: from the job's content to a plan of steps with every placeholder filled in."""
