"""What people see in the terminal; all of it goes to stderr."""
