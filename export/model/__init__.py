"""The network, its reference table and everything that is fitted rather than trained."""
