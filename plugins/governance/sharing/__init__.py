"""Accepted bookings, handed to the clinics and travel providers that they name, and to nobody else (F1)."""
