"""What a bundle's codecs are worth, and what their features give away, beside what one would send otherwise."""
