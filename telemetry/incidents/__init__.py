"""What people are told: alerts that belong together as one incident, with what probably caused it."""
