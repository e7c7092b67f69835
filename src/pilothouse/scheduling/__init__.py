"""Background work and time: jobs, schedule expressions, rate control."""
