"""What can be read off a message without a search: labels, counts, statistics, and the images of a few layers."""
