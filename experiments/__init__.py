"""Research that imports the library; the library never imports it."""
