"""The shared vocabulary as frozen data: every room speaks it, and it knows no room."""
