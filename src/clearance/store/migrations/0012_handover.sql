-- Which replica of a service counts: for a moment there may be two, of which the newer takes over from the older.
ALTER TABLE service ADD COLUMN attempt TEXT NOT NULL DEFAULT '';
