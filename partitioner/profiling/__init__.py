"""What machines take: measured on them, written down as JSON, predicted where little was measured. No torch here, for
profiles are made on devices."""
