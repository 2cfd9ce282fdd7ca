"""What goes to a clinic or a travel provider so that a booking can be completed, and how (clause F1)."""
