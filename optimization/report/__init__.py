"""What people see of a run: the terminal, `report.html`, TensorBoard, two artifacts side by side."""
