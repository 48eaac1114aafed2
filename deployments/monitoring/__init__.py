"""What is watched of a model in its replica: how rows are distributed, whether its teacher agrees, later labels."""
