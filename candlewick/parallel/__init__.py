"""Work on many series by several processes, here or on other machines."""
