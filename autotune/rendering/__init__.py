"""What people see: tables and progress on the terminal."""
