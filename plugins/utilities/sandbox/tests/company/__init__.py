"""The sample company: the jobs run on a sandbox, and the tables compared with its world."""
