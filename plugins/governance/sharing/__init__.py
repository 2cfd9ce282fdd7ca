"""What providers get of the bookings that name them (F1): contracts, register of recipients, certificates."""
