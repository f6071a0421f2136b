"""Ways to choose a backend, one file each: ``balance`` of a pool names the file."""
