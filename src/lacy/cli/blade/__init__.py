"""``lacy blade``: a small domain model that writes knowledge for a black box."""
