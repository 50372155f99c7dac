"""What a bundle's codecs are worth: curves of bytes and answers beside what one would send otherwise. No training."""
